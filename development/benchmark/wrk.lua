-- Sends prepared requests in turn (a file of requests, each ended by a zero byte) and prints the
-- figures as one line of JSON. The second argument is a pause in milliseconds, 0 for none. The third
-- says how it is applied: "each" connection pauses before a request, for a random time of this mean
-- (Poisson arrivals), or "all" connections together send one request per pause (evenly spaced).
local ffi = require("ffi")
ffi.cdef[[
   typedef struct { long seconds; long nanoseconds; } timespec;
   int clock_gettime(int clock, timespec *now);
]]
local MONOTONIC = 1
local requests, position = {}, 0

local function now_ms()
   local now = ffi.new("timespec")
   ffi.C.clock_gettime(MONOTONIC, now)
   return tonumber(now.seconds) * 1e3 + tonumber(now.nanoseconds) / 1e6
end

function init(arguments)
   local file = assert(io.open(arguments[1], "rb"))
   for request in file:read("*a"):gmatch("([^%z]+)%z") do
      requests[#requests + 1] = request
   end
   file:close()
   local pause, due = tonumber(arguments[2]), 0
   if pause > 0 and arguments[3] == "each" then
      math.randomseed(7)
      delay = function() return math.floor(-pause * math.log(1 - math.random()) + 0.5) end
   elseif pause > 0 then
      delay = function()
         local now = now_ms()
         -- Late requests are not made up for in a burst.
         due = math.max(due + pause, now)
         return math.floor(due - now + 0.5)
      end
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
