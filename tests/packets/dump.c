/*
 * The router's parser as a filter: frames from standard input, each behind its length (4 bytes,
 * little-endian), one line of fields for each. 'run' compares them with another's opinion.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/types.h"
#include "core/vfr_guard.h"
#include "core/vfr_offload.h"
#include "core/vfr_reply.h"

static void print_tuple(const struct vfr_tuple *t)
{
    printf("%016lx%016lx\t%016lx%016lx\t%u\t%u\t%u\t", t->src.high, t->src.low, t->dst.high,
           t->dst.low, t->proto, t->sport, t->dport);
}

/* Everything else that reads packets must survive them too. */
static void exercise(const struct vfr_packet *p, const u8 *bytes, u32 have)
{
    static const struct vfr_binding b = {.mac = 2, .kind = VFR_ROUTED, .flags = VFR_B_ANY_MAC};
    static const struct vfr_self self = {
        .mac = 4, .ip4 = 0xa9fe0001, .ip6 = {0xfe80ull << 48, 1}};
    const struct vfr_offload o = {.csum_blank = true, .gso_type = 1, .gso_size = 500};
    u8 out[VFR_REPLY_MAX];

    vfr_guard_check(&b, p, bytes, have);
    vfr_offload_check(&o, p, bytes, have);
    vfr_reply_arp(&self, NULL, p, out);
    vfr_reply_solicit(&self, NULL, p, bytes, true, out);
    vfr_reply_echo(&self, p, bytes, have, out);
    vfr_reply_reset(&self, p, bytes, out);
    vfr_reply_error(&self, p, bytes, have, VFR_E_ADMIN, 0, out);
}

static void show(const u8 *frame, u32 len)
{
    u32 have = MIN(len, VFR_SNAPSHOT);
    u8 *copy = malloc(have ? have : 1); /* the sanitizer sees a byte too many */
    struct vfr_packet p;
    enum vfr_reason why;

    __builtin_memcpy(copy, frame, have);
    why = vfr_packet_parse(&p, copy, have, len);
    if (!why)
        exercise(&p, copy, have);
    free(copy);
    printf("%u\t%u\t%u\t%012lx\t%012lx\t", why, p.class, p.flags, p.eth_src, p.eth_dst);
    print_tuple(&p.tuple);
    printf("%u\t%u\t%u\t%u\t%u\t%u\t", p.ttl, p.dscp, p.l3_len, p.frag_id, p.frag_offset,
           p.frag_len);
    printf("%u\t%u\t%u\t%u\t%u\t", p.l4_offset, p.tcp_flags, p.icmp_type, p.icmp_code,
           p.arp_op);
    print_tuple(&p.inner);
    printf("\n");
}

int main(void)
{
    static u8 frame[65536];
    u32 len;

    while (fread(&len, sizeof(len), 1, stdin) == 1) {
        if (len > sizeof(frame) || fread(frame, 1, len, stdin) != len)
            return 1;
        show(frame, len);
    }
    return 0;
}
