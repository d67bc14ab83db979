// Recognizes a WAV file (16-bit, mono) by two threads that share a model, with phrases and without.
//
//     c++ -std=c++17 threads.cpp -I../include -L../../../target/release -lhearken -pthread -o threads
//     ./threads ../../../audio/pi.wav
#include <cstdint>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "hearken.h"

struct Free {
    void operator()(HearkenModel *model) const { hearken_model_free(model); }
    void operator()(HearkenRecognizer *recognizer) const { hearken_recognizer_free(recognizer); }
};
using Model = std::unique_ptr<HearkenModel, Free>;
using Recognizer = std::unique_ptr<HearkenRecognizer, Free>;

template <typename T> T checked(T value) {
    if (!value)
        throw std::runtime_error(hearken_last_error());
    return value;
}

int main(int argc, char **argv) try {
    std::ifstream file(argc > 1 ? argv[1] : "", std::ios::binary);
    const std::vector<char> bytes(std::istreambuf_iterator<char>(file), {});
    if (bytes.size() < 44)
        throw std::runtime_error("expected a WAV file");
    std::uint8_t low = bytes[24], high = bytes[25];
    float rate = low | high << 8;

    HearkenModelOptions options = {};
    options.size = sizeof options;
    options.model = "english";
    options.phrases = argc > 2 ? argv[2] : nullptr;
    Model digits(checked(hearken_model_new("digits"))), english(checked(hearken_model_new_with(&options)));
    std::vector<std::string> results(2);
    auto recognize = [&](int i, HearkenModel *model) {
        Recognizer recognizer(checked(hearken_recognizer_new(model, rate)));
        const char *samples = bytes.data() + 44;
        if (hearken_recognizer_accept_waveform(recognizer.get(), samples, int(bytes.size() - 44) & ~1) < 0)
            throw std::runtime_error(hearken_last_error());
        results[i] = checked(hearken_recognizer_final_result(recognizer.get()));
    };
    std::thread other(recognize, 1, english.get());
    recognize(0, digits.get());
    other.join();
    for (const auto &result : results)
        std::cout << result << "\n";
} catch (const std::exception &error) {
    std::cerr << error.what() << "\n";
    return 1;
}
