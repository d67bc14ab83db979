-- Prints the words of a WAV file (16-bit, mono), by LuaJIT's FFI, which reads the header itself.
--
--     luajit transcribe.lua ../../../target/release/libhearken.so ../include/hearken.h ../../../audio/pi.wav
local ffi = require("ffi")
local library, header, recording = arg[1], arg[2], arg[3]
if not recording then error("expected the library, the header and a WAV file", 0) end

local function read(path)
  local file = assert(io.open(path, "rb"))
  local bytes = file:read("*a")
  file:close()
  return bytes
end

-- LuaJIT reads declarations, not directives of the preprocessor.
local declarations = read(header):gsub("#ifdef __cplusplus.-#endif[^\n]*", ""):gsub("\n#[^\n]*", "")
ffi.cdef(declarations)
local hearken = ffi.load(library)
-- NULL, -1 and 0 stand for errors.
local function check(result)
  if result == nil or result == -1 then error(ffi.string(hearken.hearken_last_error()), 0) end
  return result
end

local wav = read(recording)
assert(wav:sub(1, 4) == "RIFF" and #wav > 44, "expected a WAV file")
local rate = wav:byte(25) + wav:byte(26) * 256 + wav:byte(27) * 65536
-- Without a name: the embedded model of digits.
local model = ffi.gc(check(hearken.hearken_model_new(nil)), hearken.hearken_model_free)
local recognizer = ffi.gc(check(hearken.hearken_recognizer_new(model, rate)), hearken.hearken_recognizer_free)
for at = 45, #wav, 3200 do
  local chunk = wav:sub(at, at + 3199)
  if check(hearken.hearken_recognizer_accept_waveform(recognizer, chunk, #chunk)) == 1 then
    print(ffi.string(check(hearken.hearken_recognizer_result(recognizer))))
  end
end
print(ffi.string(check(hearken.hearken_recognizer_final_result(recognizer))))
