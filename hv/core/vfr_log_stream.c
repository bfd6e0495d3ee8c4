#include "core/vfr_log.h"

int vfr_log_stream_init(struct vfr_log_stream *s, struct vfr_log_ring *ring, void *data,
                        u32 size, const struct vfr_log_writer *who)
{
    if (size < VFR_LOG_SIZE_MIN || size & (size - 1))
        return -XEN_EINVAL;
    *s = (struct vfr_log_stream){
        .ring = ring, .data = data, .size = size, .boot = who->boot, .cpu = who->cpu};
    *ring = (struct vfr_log_ring){
        .magic = VFR_LOG_MAGIC, .size = size, .boot = who->boot, .cpu = who->cpu};
    return 0;
}

static u32 unread(const struct vfr_log_stream *s)
{
    return (u32)(s->produced - s->consumed);
}

static void ask_reader(struct vfr_log_stream *s)
{
    u64 at = __atomic_load_n(&s->ring->consumed, __ATOMIC_ACQUIRE);

    if (at - s->consumed > unread(s) || at % 8)
        s->nonsense++;
    else
        s->consumed = at;
}

bool vfr_log_stream_has_room(struct vfr_log_stream *s, u32 len)
{
    if (s->size - unread(s) >= len)
        return true;
    ask_reader(s);
    return s->size - unread(s) >= len;
}

void vfr_log_stream_put(struct vfr_log_stream *s, const void *bytes, u32 len)
{
    const u8 *from = bytes;

    for (u32 i = 0; i < len; i += 8, s->produced += 8)
        s->data[s->produced % s->size / 8] = get_le64(from + i);
}

void vfr_log_stream_publish(struct vfr_log_stream *s)
{
    __atomic_store_n(&s->ring->produced, s->produced, __ATOMIC_RELEASE);
}

struct vfr_log_head vfr_log_stream_head(struct vfr_log_stream *s,
                                        const struct vfr_log_moment *m, u16 type, u32 len)
{
    return (struct vfr_log_head){type,          (u16)len, s->seq++, m->utc,
                                 m->generation, s->boot,  s->cpu};
}
