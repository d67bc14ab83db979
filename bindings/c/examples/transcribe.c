/* Prints the words of a WAV file (16-bit, mono) while it is read, as a microphone would be.
 *
 *     cc transcribe.c -I../include -L../../../target/release -lhearken -o transcribe
 *     ./transcribe ../../../audio/pi.wav
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hearken.h"

static int fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, hearken_last_error());
    return 1;
}

int main(int argc, char **argv) {
    unsigned char header[44];
    char samples[3200]; /* 100 ms at 16 kHz */
    FILE *file = argc > 1 ? fopen(argv[1], "rb") : NULL;
    if (!file || fread(header, 1, sizeof header, file) != sizeof header || memcmp(header, "RIFF", 4)) {
        fprintf(stderr, "expected a WAV file\n");
        return 2;
    }
    float rate = (float)(header[24] | header[25] << 8 | header[26] << 16);

    HearkenModel *model = hearken_model_new(argc > 2 ? argv[2] : NULL); /* NULL: the embedded digits */
    if (!model)
        return fail("model");
    HearkenRecognizer *recognizer = hearken_recognizer_new(model, rate);
    if (!recognizer)
        return fail("recognizer");
    hearken_recognizer_set_words(recognizer, 1);

    int length;
    while ((length = (int)fread(samples, 1, sizeof samples, file)) > 0) {
        int ended = hearken_recognizer_accept_waveform(recognizer, samples, length);
        if (ended < 0)
            return fail("audio");
        puts(ended ? hearken_recognizer_result(recognizer) : hearken_recognizer_partial_result(recognizer));
    }
    puts(hearken_recognizer_final_result(recognizer));

    hearken_recognizer_free(recognizer);
    hearken_model_free(model);
    fclose(file);
    return 0;
}
