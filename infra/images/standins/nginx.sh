#!/bin/sh
# nginx with the places that upstream's is compiled for; what the caller says comes later and wins.
exec /usr/lib/nginx/nginx -p /etc/nginx/ -c /etc/nginx/nginx.conf -e stderr "$@"
