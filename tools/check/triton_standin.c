/* A stand-in for Triton's onnxruntime backend, for tools/check/triton_server.py, where that cannot be had: it
 * runs model.onnx by onnxruntime's C interface on what Triton's core hands over, all requests as one
 * batch, and gives states back as Triton's implicit states. 32-bit floats only, no error but the end of
 * the process: it is for tests alone.
 *
 *   cc -shared -fPIC -o libtriton_onnxruntime.so triton_standin.c -ldl
 *
 * Neither Triton's nor onnxruntime's headers come with the Python packages. What is used of Triton is
 * declared here; functions of onnxruntime are taken from its table by their place in it, which its
 * promise of a stable binary interface fixes. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef void *Handle;
typedef Handle Error;

enum { FP32 = 11, MEMORY_CPU = 0, RELEASE_ALL = 1, FINAL = 1, MOST_DIMS = 8, MOST_PORTS = 64 };

extern Error TRITONBACKEND_ModelRepository(Handle model, int *artifact, const char **location);
extern Error TRITONBACKEND_ModelVersion(Handle model, uint64_t *version);
extern Error TRITONBACKEND_ModelConfig(Handle model, uint32_t version, Handle *message);
extern Error TRITONSERVER_MessageSerializeToJson(Handle message, const char **base, size_t *size);
extern Error TRITONBACKEND_ModelSetState(Handle model, void *state);
extern Error TRITONBACKEND_ModelState(Handle model, void **state);
extern Error TRITONBACKEND_ModelInstanceModel(Handle instance, Handle *model);
extern Error TRITONBACKEND_RequestInput(Handle request, const char *name, Handle *input);
extern Error TRITONBACKEND_RequestRelease(Handle request, uint32_t flags);
extern Error TRITONBACKEND_InputProperties(Handle input, const char **name, int *type, const int64_t **shape,
                                           uint32_t *dims, uint64_t *bytes, uint32_t *buffers);
extern Error TRITONBACKEND_InputBuffer(Handle input, uint32_t index, const void **buffer, uint64_t *bytes,
                                       int *memory, int64_t *id);
extern Error TRITONBACKEND_ResponseNew(Handle *response, Handle request);
extern Error TRITONBACKEND_ResponseOutput(Handle response, Handle *output, const char *name, int type,
                                          const int64_t *shape, uint32_t dims);
extern Error TRITONBACKEND_OutputBuffer(Handle output, void **buffer, uint64_t bytes, int *memory, int64_t *id);
extern Error TRITONBACKEND_ResponseSend(Handle response, uint32_t flags, Error error);
extern Error TRITONBACKEND_StateNew(Handle *state, Handle request, const char *name, int type,
                                    const int64_t *shape, uint32_t dims);
extern Error TRITONBACKEND_StateBuffer(Handle state, void **buffer, uint64_t bytes, int *memory, int64_t *id);
extern Error TRITONBACKEND_StateUpdate(Handle state);
extern const char *TRITONSERVER_ErrorMessage(Error error);

/* Places in onnxruntime's table of functions. */
enum {
    ERROR_MESSAGE = 2, CREATE_ENV = 3, CREATE_SESSION = 7, RUN = 9, CREATE_OPTIONS = 10, SET_THREADS = 24,
    INPUT_COUNT = 30, OUTPUT_COUNT = 31, INPUT_NAME = 36, OUTPUT_NAME = 37, CREATE_TENSOR = 49, TENSOR_DATA = 51,
    DIMS_COUNT = 61, DIMS = 62, TYPE_AND_SHAPE = 65, CPU_MEMORY = 69, ALLOCATOR = 78, RELEASE_VALUE = 96,
    RELEASE_SHAPE = 99
};

typedef struct {
    void *const *table;
    Handle session, memory;
    size_t inputs, outputs;
    char *in[MOST_PORTS], *out[MOST_PORTS];
    int is_state[MOST_PORTS];
} Model;

static void fail(const char *what, const char *why) {
    fprintf(stderr, "triton_standin: %s: %s\n", what, why);
    _exit(70);
}

static void triton(const char *what, Error error) {
    if (error) fail(what, TRITONSERVER_ErrorMessage(error));
}

static void ort(const Model *m, const char *what, Handle status) {
    if (status) fail(what, ((const char *(*)(Handle))m->table[ERROR_MESSAGE])(status));
}

Error TRITONBACKEND_ModelInitialize(Handle model) {
    Model *m = calloc(1, sizeof *m);
    const char *library = getenv("ORT_DYLIB_PATH");
    void *ort_library = library ? dlopen(library, RTLD_NOW | RTLD_LOCAL) : NULL;
    struct { void *const *(*table)(uint32_t); } *(*base)(void) = NULL;
    if (ort_library) *(void **)&base = dlsym(ort_library, "OrtGetApiBase");
    if (!base || !(m->table = base()->table(17))) fail("ORT_DYLIB_PATH", "no onnxruntime there");

    int artifact;
    const char *location, *config;
    uint64_t version;
    size_t size;
    Handle message, env, options, allocator;
    char path[4096];
    triton("repository", TRITONBACKEND_ModelRepository(model, &artifact, &location));
    triton("version", TRITONBACKEND_ModelVersion(model, &version));
    snprintf(path, sizeof path, "%s/%llu/model.onnx", location, (unsigned long long)version);
    ort(m, "environment", ((Handle(*)(int, const char *, Handle *))m->table[CREATE_ENV])(2, "standin", &env));
    ort(m, "options", ((Handle(*)(Handle *))m->table[CREATE_OPTIONS])(&options));
    ort(m, "threads", ((Handle(*)(Handle, int))m->table[SET_THREADS])(options, 1));
    ort(m, path, ((Handle(*)(Handle, const char *, Handle, Handle *))m->table[CREATE_SESSION])(env, path, options, &m->session));
    ort(m, "memory", ((Handle(*)(int, int, Handle *))m->table[CPU_MEMORY])(1, 0, &m->memory));
    ort(m, "allocator", ((Handle(*)(Handle *))m->table[ALLOCATOR])(&allocator));
    ort(m, "inputs", ((Handle(*)(Handle, size_t *))m->table[INPUT_COUNT])(m->session, &m->inputs));
    ort(m, "outputs", ((Handle(*)(Handle, size_t *))m->table[OUTPUT_COUNT])(m->session, &m->outputs));
    if (m->inputs > MOST_PORTS || m->outputs > MOST_PORTS) fail(path, "too many inputs or outputs");
    typedef Handle (*Name)(Handle, size_t, Handle, char **);
    for (size_t i = 0; i < m->inputs; i++)
        ort(m, "name", ((Name)m->table[INPUT_NAME])(m->session, i, allocator, &m->in[i]));
    triton("configuration", TRITONBACKEND_ModelConfig(model, 1, &message));
    triton("configuration", TRITONSERVER_MessageSerializeToJson(message, &config, &size));
    char *text = strndup(config, size);
    for (size_t i = 0; i < m->outputs; i++) {
        char state[512];
        ort(m, "name", ((Name)m->table[OUTPUT_NAME])(m->session, i, allocator, &m->out[i]));
        snprintf(state, sizeof state, "\"output_name\":\"%s\"", m->out[i]);
        m->is_state[i] = strstr(text, state) != NULL;
    }
    free(text);
    triton("state", TRITONBACKEND_ModelSetState(model, m));
    return NULL;
}

/* One input of all requests as a tensor [N, ...]. */
static Handle gather(const Model *m, const char *name, Handle *requests, uint32_t count, void **data) {
    int64_t whole[MOST_DIMS];
    uint32_t rank = 0;
    uint64_t row = 0;
    for (uint32_t r = 0; r < count; r++) {
        Handle input;
        const char *ignored;
        const int64_t *shape;
        int type, memory;
        uint32_t dims, buffers;
        uint64_t bytes, at = 0;
        triton(name, TRITONBACKEND_RequestInput(requests[r], name, &input));
        triton(name, TRITONBACKEND_InputProperties(input, &ignored, &type, &shape, &dims, &bytes, &buffers));
        if (type != FP32 || dims > MOST_DIMS || dims == 0 || shape[0] != 1) fail(name, "expected floats of one stream");
        if (r == 0) {
            rank = dims, row = bytes;
            memcpy(whole, shape, dims * sizeof *shape);
            whole[0] = count;
            *data = malloc(row * count);
        }
        if (dims != rank || bytes != row || memcmp(whole + 1, shape + 1, (rank - 1) * sizeof *shape))
            fail(name, "requests of one batch differ in shape");
        for (uint32_t b = 0; b < buffers; b++) {
            const void *from;
            uint64_t n;
            int64_t id;
            triton(name, TRITONBACKEND_InputBuffer(input, b, &from, &n, &memory, &id));
            memcpy((char *)*data + r * row + at, from, n);
            at += n;
        }
        if (at != row) fail(name, "too few bytes");
    }
    Handle tensor;
    typedef Handle (*Create)(Handle, void *, size_t, const int64_t *, size_t, int, Handle *);
    ort(m, name, ((Create)m->table[CREATE_TENSOR])(m->memory, *data, row * count, whole, rank, 1, &tensor));
    return tensor;
}

/* One output of the batch: a row for each request, as output or as state. */
static void scatter(const Model *m, size_t which, Handle tensor, Handle *requests, Handle *responses, uint32_t count) {
    const char *name = m->out[which];
    Handle info;
    size_t rank;
    int64_t shape[MOST_DIMS];
    char *data;
    ort(m, name, ((Handle(*)(Handle, Handle *))m->table[TYPE_AND_SHAPE])(tensor, &info));
    ort(m, name, ((Handle(*)(Handle, size_t *))m->table[DIMS_COUNT])(info, &rank));
    if (rank == 0 || rank > MOST_DIMS) fail(name, "too many dimensions");
    ort(m, name, ((Handle(*)(Handle, int64_t *, size_t))m->table[DIMS])(info, shape, rank));
    ort(m, name, ((Handle(*)(Handle, char **))m->table[TENSOR_DATA])(tensor, &data));
    if (shape[0] != count) fail(name, "the batch came back as another");
    uint64_t row = sizeof(float);
    for (size_t d = 1; d < rank; d++) row *= shape[d];
    shape[0] = 1;
    for (uint32_t r = 0; r < count; r++) {
        Handle place;
        void *to;
        int memory = MEMORY_CPU;
        int64_t id = 0;
        if (m->is_state[which]) {
            triton(name, TRITONBACKEND_StateNew(&place, requests[r], name, FP32, shape, rank));
            triton(name, TRITONBACKEND_StateBuffer(place, &to, row, &memory, &id));
        } else {
            triton(name, TRITONBACKEND_ResponseOutput(responses[r], &place, name, FP32, shape, rank));
            triton(name, TRITONBACKEND_OutputBuffer(place, &to, row, &memory, &id));
        }
        memcpy(to, data + r * row, row);
        if (m->is_state[which]) triton(name, TRITONBACKEND_StateUpdate(place));
    }
    ((void (*)(Handle))m->table[RELEASE_SHAPE])(info);
}

Error TRITONBACKEND_ModelInstanceExecute(Handle instance, Handle *requests, uint32_t count) {
    Handle model, in[MOST_PORTS], out[MOST_PORTS] = {0}, *responses = calloc(count, sizeof *responses);
    void *data[MOST_PORTS];
    Model *m;
    triton("model", TRITONBACKEND_ModelInstanceModel(instance, &model));
    triton("model", TRITONBACKEND_ModelState(model, (void **)&m));
    fprintf(stderr, "triton_standin: batch of %u\n", count);
    for (uint32_t r = 0; r < count; r++) triton("response", TRITONBACKEND_ResponseNew(&responses[r], requests[r]));
    for (size_t i = 0; i < m->inputs; i++) in[i] = gather(m, m->in[i], requests, count, &data[i]);
    typedef Handle (*Run)(Handle, Handle, char *const *, Handle *, size_t, char *const *, size_t, Handle *);
    ort(m, "run", ((Run)m->table[RUN])(m->session, NULL, m->in, in, m->inputs, m->out, m->outputs, out));
    for (size_t i = 0; i < m->outputs; i++) scatter(m, i, out[i], requests, responses, count);
    typedef void (*Release)(Handle);
    for (size_t i = 0; i < m->outputs; i++) ((Release)m->table[RELEASE_VALUE])(out[i]);
    for (size_t i = 0; i < m->inputs; i++) {
        ((Release)m->table[RELEASE_VALUE])(in[i]);
        free(data[i]);
    }
    for (uint32_t r = 0; r < count; r++) {
        triton("response", TRITONBACKEND_ResponseSend(responses[r], FINAL, NULL));
        triton("request", TRITONBACKEND_RequestRelease(requests[r], RELEASE_ALL));
    }
    free(responses);
    return NULL;
}
