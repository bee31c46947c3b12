-- 64 requests in turn, of which no two are alike: a server that remembers whole heads gains nothing.
-- Keep-alive, one request at a time on each connection: no pipelining.
local requests = {}
local last = 0

function init(arguments)
  for n = 1, 64 do
    local headers = {
      ["User-Agent"] = "wrk/4 (client " .. n .. ")",
      ["Accept"] = "*/*",
      ["X-Request-Id"] = string.format("%08x-%08x", n * 2654435, n * 40503),
    }
    if n % 2 == 0 then headers["Accept-Language"] = "en;q=0.8, de;q=0." .. n % 7 end
    if n % 4 == 0 then headers["Cookie"] = "session=" .. string.rep("c", n) end
    requests[n] = wrk.format("GET", "/hello/" .. n .. "?page=" .. n % 7, headers)
  end
end

function request()
  last = last % 64 + 1
  return requests[last]
end
