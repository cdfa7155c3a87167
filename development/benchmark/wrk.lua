-- Sends prepared requests in turn (a file of requests, each ended by a zero byte), and tells what
-- was measured as one line of JSON. With a second argument each connection pauses before a
-- request, by as many milliseconds on average.
local requests, position = {}, 0

function init(arguments)
   local file = assert(io.open(arguments[1], "rb"))
   for request in file:read("*a"):gmatch("([^%z]+)%z") do
      requests[#requests + 1] = request
   end
   file:close()
   local pause = tonumber(arguments[2] or "0")
   if pause > 0 then
      math.randomseed(7)
      delay = function() return math.floor(-pause * math.log(1 - math.random()) + 0.5) end
   end
end

function request()
   position = position % #requests + 1
   return requests[position]
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      '\nRESULT {"requests": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f, "refused": %d, "broken": %d}\n',
      summary.requests, summary.duration / 1e6,
      latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, errors.status,
      errors.connect + errors.read + errors.write + errors.timeout))
end
