/* A plugin of qemu-user that counts what a program executes: all instructions, and fused multiply-adds of vectors (fmla of NEON,
 * vfmadd of AVX). static.sh compiles and uses it:
 *
 *     cc -O2 -shared -fPIC count_instructions.c -o count.so
 *     qemu-aarch64 -plugin ./count.so PROGRAM …
 *
 * Written against version 1 of QEMU's plugin interface, whose declarations are repeated here because distributions do not install
 * its header. Counts are exact for programs with one thread.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern char *qemu_plugin_insn_disas(const struct qemu_plugin_insn *);
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, enum qemu_plugin_op, void *, uint64_t);
extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
extern void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, void *), void *);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

static uint64_t instructions, multiply_adds;

/* Of vectors: the destination of NEON's has a shape (v0.4s), AVX's names end in ps or pd. */
static bool is_multiply_add(const char *text) {
    if (!strncmp(text, "fmla", 4))
        return strstr(text, ".4s") || strstr(text, ".2d");
    return !strncmp(text, "vfmadd", 6) && (strstr(text, "ps ") || strstr(text, "pd "));
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
    size_t count = qemu_plugin_tb_n_insns(block), adds = 0;
    (void)id;
    for (size_t i = 0; i < count; i++) {
        char *text = qemu_plugin_insn_disas(qemu_plugin_tb_get_insn(block, i));
        adds += text && is_multiply_add(text);
        free(text);
    }
    qemu_plugin_register_vcpu_tb_exec_inline(block, QEMU_PLUGIN_INLINE_ADD_U64, &instructions, count);
    if (adds)
        qemu_plugin_register_vcpu_tb_exec_inline(block, QEMU_PLUGIN_INLINE_ADD_U64, &multiply_adds, adds);
}

static void ended(qemu_plugin_id_t id, void *data) {
    (void)id, (void)data;
    fprintf(stderr, "instructions %" PRIu64 " %" PRIu64 "\n", instructions, multiply_adds);
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv) {
    (void)info, (void)argc, (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
