# make weekNN VERB: one week, one verb. All the work is done by ./lab, which needs no make:
# this file checks the words, passes the settings on, and lists what there is.

LAB_COMMAND ?= ./lab
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.NOTPARALLEL:

WEEKS := $(sort $(foreach file,$(wildcard week[0-9][0-9]_*/lab.py),$(firstword $(subst _, ,$(file)))))
VERBS := up down status logs run check bench test starter clean kill crash pause resume stop start fault
OTHERS := help doctor test test-compose test-ansible lint lint-ansible lock publish footprint hetzner-up hetzner-down
SETTINGS := ENGINE OFFLINE SUBNET INVENTORY PORT PORT_% SERVER SERVICE FAULTS FOLLOW DEEP SEED YES TARGET TARGET_DSN ARGS UPGRADE WEEK LAB_%

# ---- The words are judged before anything runs: $(error) ends make at once, with status 2.
week := $(filter week%,$(MAKECMDGOALS))
rest := $(filter-out week%,$(MAKECMDGOALS))
list = weeks: $(WEEKS); verbs: $(VERBS); without a week: $(OTHERS)

given := $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name)))
ifneq ($(filter-out $(SETTINGS),$(given)),)
  $(error no such setting: $(filter-out $(SETTINGS),$(given)); settings: $(subst %,NAME,$(SETTINGS)))
endif

ifneq ($(week),)
  ifneq ($(filter-out $(WEEKS),$(week)),)
    $(error no such week: $(filter-out $(WEEKS),$(week)); $(list))
  endif
  ifneq ($(words $(week)),1)
    $(error one week at a time, not $(week))
  endif
  ifneq ($(filter-out $(VERBS),$(rest)),)
    $(error no such verb: $(filter-out $(VERBS),$(rest)); $(list))
  endif
  ifneq ($(filter-out 0 1,$(words $(rest))),)
    $(error one verb at a time, not $(rest))
  endif
else
  ifneq ($(filter-out $(VERBS) $(OTHERS),$(rest)),)
    $(error no such target: $(filter-out $(VERBS) $(OTHERS),$(rest)); $(list))
  endif
  ifneq ($(filter-out $(OTHERS),$(rest)),)
    $(error of which week? make weekNN $(filter-out $(OTHERS),$(rest)); $(list))
  endif
endif

# ---- A week. PORT, PORT_<SERVICE>, TARGET and the like reach the lab as environment.
on = $(filter-out 0 no false,$($1))
verb := $(or $(rest),up)
option_up = $(if $(call on,FAULTS),--faults)
option_logs = $(if $(call on,FOLLOW),--follow)
option_check = $(if $(call on,DEEP),--deep)
option_clean = $(if $(call on,YES),--yes)
ifneq ($(ENGINE),)
  export LAB_ENGINE := $(ENGINE)
endif

ifneq ($(week),)
.PHONY: $(week) $(rest)
$(week):
	@"$(LAB_COMMAND)" $(week) $(verb) $(option_$(verb)) $${SERVICE-} $(ARGS)
# The verb stands in the recipe above; as a target of its own it does nothing.
$(rest):
	@:
else

# ---- Without a week.
.PHONY: $(OTHERS)
help: ## this list
	@sed -n 's/^#|1 \{0,1\}//p' Makefile
	@for file in $(wildcard week[0-9][0-9]_*/lab.py); do \
	    title=$$(sed -n 's/^# *//p' "$${file%lab.py}README.md" 2>/dev/null | head -n 1); \
	    printf '  %-8s %s\n' "$${file%%_*}" "$${title:-$${file%/lab.py}}"; \
	done
	@sed -n 's/^#|2 \{0,1\}//p' Makefile
	@sed -n 's/^\([a-z-]*\):.*## /make \1|/p' Makefile | awk -F'|' '{printf "  %-18s %s\n", $$1, $$2}'

doctor: ## what this machine can run, and what is missing for the rest
	@"$(LAB_COMMAND)" doctor

test: ## all unit and integration tests (ARGS="-k words" for some of them)
	@"$(LAB_COMMAND)" --dev pytest $(ARGS)

test-compose: ## the tests that bring containers up; each says why where there is no Docker
	@"$(LAB_COMMAND)" --dev pytest -m compose $(ARGS)

test-ansible: ## the tests that run playbooks, most of them on containers that boot systemd
	@"$(LAB_COMMAND)" --dev pytest -m ansible $(ARGS)

lint: ## ruff, mypy and the import rules
	@"$(LAB_COMMAND)" --dev ruff check .
	@"$(LAB_COMMAND)" --dev ruff format --check .
	@"$(LAB_COMMAND)" --dev mypy
	@"$(LAB_COMMAND)" --dev lint-imports

lint-ansible: ## ansible-lint, profile production, over all playbooks and roles
	@"$(LAB_COMMAND)" --dev python -m infra.ansible.environment ansible-lint --offline \
	    infra/ansible infra/lab/engines/hetzner/playbooks $(wildcard week[0-9][0-9]_*/ansible) $(ARGS)

lock: ## pin again what pyproject.toml asks for (UPGRADE=1: to the newest versions)
	@"$(LAB_COMMAND)" --dev python -m infra.locks $(if $(call on,UPGRADE),--upgrade)
	@"$(LAB_COMMAND)" --dev python -m infra.lab.servers.kafka_jars

publish: ## make the last deep check the published one: results, report, README tables
	@"$(LAB_COMMAND)" --dev python -m infra.evidence.publish $(ARGS)

footprint: ## measure minutes and memory of each week in fresh clones, for the README
	@"$(LAB_COMMAND)" --dev python -m benchmarks.footprint $(ARGS)

hetzner-up: ## WEEK=weekNN: its servers, with their price; YES=1 makes them
	@"$(LAB_COMMAND)" --dev python -m infra.ansible.hetzner up $(if $(WEEK),--week $(WEEK)) $(if $(call on,YES),--yes)

hetzner-down: ## what of them there is; YES=1 removes it
	@"$(LAB_COMMAND)" --dev python -m infra.ansible.hetzner down $(if $(WEEK),--week $(WEEK)) $(if $(call on,YES),--yes)
endif

#|1 make weekNN VERB       one week, one verb; make weekNN alone means up
#|1
#|2
#|2   up           start everything, wait until it answers, print the addresses
#|2   down         stop everything, keep the data
#|2   status       version, address, pid, memory and uptime of each service
#|2   logs         of all services, or SERVICE=name; FOLLOW=1 goes on
#|2   run          one of the week's own commands on what runs: ARGS="dead-letters list"
#|2   test         the week's tests
#|2   check        measure the week's claims and their controls; DEEP=1 with all repetitions;
#|2                ARGS="NAME ..." only some
#|2   starter      a service for you to fill in, judged by check TARGET=...: ARGS=../my-service
#|2   bench        measure the week's speed beside others'; ARGS=--quick for a first look
#|2   clean        stop and erase the week's data, after asking; YES=1 does not ask
#|2   kill crash pause resume stop start    the same for one service: SERVICE=name
#|2   fault        of the link to SERVICE=name: ARGS="latency 200"; needs up FAULTS=1
#|2
#|2 Settings: ENGINE=local; or compose: on Docker, OFFLINE=1 with images built here;
#|2           or hetzner: by Ansible on the machines of INVENTORY=file
#|2           SERVER=uvicorn  PORT=8500  PORT_POSTGRES=8501, and those named above
#|2
#|2 make TARGET            without a week
