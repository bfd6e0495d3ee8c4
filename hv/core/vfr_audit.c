#include "core/vfr_audit.h"
#include "base/string.h"

int vfr_audit_init(struct vfr_audit *a, struct vfr_log_ring *ring, void *data, u32 size,
                   const struct vfr_log_writer *who)
{
    *a = (struct vfr_audit){0};
    return vfr_log_stream_init(&a->out, ring, data, size, who);
}

/* ---- texts: before and after as one, in parts ---- */

static u32 text_len(const struct vfr_audit_entry *e)
{
    return e->before_len + e->after_len;
}

static u32 nr_parts(const struct vfr_audit_entry *e)
{
    return text_len(e) ? DIV_ROUND_UP(text_len(e), (u32)VFR_AUDIT_TEXT) : 1;
}

static u32 part_len(const struct vfr_audit_entry *e, u32 part)
{
    return MIN(text_len(e) - part * (u32)VFR_AUDIT_TEXT, (u32)VFR_AUDIT_TEXT);
}

static u32 record_len(u32 text)
{
    return sizeof(struct vfr_log_audit) + ROUND_UP(text, 8) + sizeof(struct vfr_log_chain);
}

static u8 text_at(const struct vfr_audit_entry *e, u32 i)
{
    return (u8)(i < e->before_len ? e->before[i] : e->after[i - e->before_len]);
}

/* ---- records ---- */

/* Into the ring and into the digest. */
static void put(struct vfr_audit *a, struct sha256 *digest, const void *bytes, u32 len)
{
    vfr_log_stream_put(&a->out, bytes, len);
    sha256_add(digest, bytes, len);
}

static void begin(struct vfr_audit *a, struct sha256 *digest)
{
    sha256_begin(digest);
    sha256_add(digest, a->head, sizeof(a->head));
}

static void end(struct vfr_audit *a, struct sha256 *digest)
{
    put(a, digest, a->head, sizeof(a->head));
    sha256_end(digest, a->head);
    vfr_log_stream_put(&a->out, a->head, sizeof(a->head));
    vfr_log_stream_publish(&a->out);
    a->records++;
}

static void put_text(struct vfr_audit *a, struct sha256 *digest,
                     const struct vfr_audit_entry *e, u32 from, u32 len)
{
    for (u32 i = 0; i < len; i += 8) {
        u64 word = 0;

        for (u32 n = 0; n < 8 && i + n < len; n++)
            word |= (u64)text_at(e, from + i + n) << n * 8;
        put(a, digest, &word, sizeof(word));
    }
}

static void write_part(struct vfr_audit *a, const struct vfr_log_moment *m,
                       const struct vfr_audit_entry *e, u32 part)
{
    const u32 from = part * (u32)VFR_AUDIT_TEXT, len = part_len(e, part);
    const u32 before = from < e->before_len ? MIN(len, e->before_len - from) : 0;
    const struct vfr_log_audit record = {
        .head = vfr_log_stream_head(&a->out, m, VFR_RECORD_AUDIT, record_len(len)),
        .origin = e->origin,
        .part = (u8)(part + 1),
        .parts = (u8)nr_parts(e),
        .op = e->op,
        .uid = e->uid,
        .pid = e->pid,
        .vif = e->vif,
        .before_len = (u16)before,
        .after_len = (u16)(len - before),
        .object = e->object};
    struct sha256 digest;

    begin(a, &digest);
    put(a, &digest, &record, sizeof(record));
    put_text(a, &digest, e, from, len);
    end(a, &digest);
}

int vfr_audit_check(struct vfr_audit *a, const struct vfr_audit_entry *e)
{
    const u32 most = VFR_AUDIT_PARTS * VFR_AUDIT_TEXT;
    u32 parts;

    if (e->origin >= VFR_ORIGINS)
        return -XEN_EINVAL;
    if (e->before_len > most || e->after_len > most - e->before_len)
        return -XEN_E2BIG;
    parts = nr_parts(e);
    if ((parts - 1) * VFR_AUDIT_RECORD + record_len(part_len(e, parts - 1)) > a->out.size)
        return -XEN_E2BIG;
    if (vfr_log_stream_has_room(&a->out, (parts - 1) * VFR_AUDIT_RECORD +
                                             record_len(part_len(e, parts - 1))))
        return 0;
    a->refused++;
    return -XEN_EAGAIN;
}

int vfr_audit_write(struct vfr_audit *a, const struct vfr_log_moment *m,
                    const struct vfr_audit_entry *e)
{
    int rc = vfr_audit_check(a, e);

    if (rc)
        return rc;
    for (u32 part = 0; part < nr_parts(e); part++)
        write_part(a, m, e, part);
    return 0;
}

int vfr_audit_checkpoint(struct vfr_audit *a, const struct vfr_log_moment *m, u64 logged,
                         u64 lost)
{
    const u32 len = sizeof(struct vfr_log_checkpoint) + sizeof(struct vfr_log_chain);
    struct vfr_log_checkpoint record;
    struct sha256 digest;

    if (!vfr_log_stream_has_room(&a->out, len)) {
        a->refused++;
        return -XEN_EAGAIN;
    }
    record =
        (struct vfr_log_checkpoint){vfr_log_stream_head(&a->out, m, VFR_RECORD_CHECKPOINT, len),
                                    a->records, a->refused, logged, lost};
    begin(a, &digest);
    put(a, &digest, &record, sizeof(record));
    end(a, &digest);
    return 0;
}
