/* The router's logs, for domain 0. */
#include "base/string.h"
#include "guest/access.h"
#include "guest/vtime.h"
#include "hcall/hcall.h"
#include "kern/heap.h"
#include "svc/vfr_capture.h"
#include "svc/vfr_log.h"

#define STEP_BYTES KIB(32)   /* between two preemption points */
#define NOTE_ORDER 3         /* pages for VFR_NOTE_TEXT */
#define SAME       (~(u64)0) /* as 'done': no more than before */

/* What is there from 'at' on, as far as the buffer takes it. */
static int copy_records(const struct vfr_log_stream *s, struct serai_vfr_log *op)
{
    u64 end = op->at + MIN(op->capacity, op->produced - op->at);

    for (u64 to = op->buffer; op->at < end;) {
        const u64 from = op->at % s->size,
                  n = MIN(MIN(end - op->at, s->size - from), STEP_BYTES);

        if (copy_to_guest((void *)to, (const u8 *)s->data + from, n))
            return -XEN_EFAULT;
        op->at += n;
        to += n;
        preempt_point();
    }
    return 0;
}

static int read_ring(struct serai_vfr_log *op)
{
    const struct vfr_log_stream *s = op->ring >= VFR_RING_CAPTURE
                                         ? vfr_capture_find(op->ring - VFR_RING_CAPTURE)
                                         : vfr_log_find(op->ring);
    struct vfr_log_ring *r;
    u64 consumed;

    if (!s)
        return -XEN_ENOENT;
    r = s->ring;
    op->size = s->size;
    op->boot = s->boot;
    op->lost = __atomic_load_n(&r->lost, __ATOMIC_RELAXED);
    op->produced = __atomic_load_n(&r->produced, __ATOMIC_ACQUIRE);
    op->consumed = consumed = __atomic_load_n(&r->consumed, __ATOMIC_RELAXED);
    if (op->done == SAME)
        op->done = consumed;
    if (op->done - consumed > op->produced - consumed || op->done % 8)
        return -XEN_EINVAL;
    if (op->at - op->done > op->produced - op->done || op->at % 8 || op->capacity % 8)
        return -XEN_EINVAL;
    __atomic_store_n(&r->consumed, op->done, __ATOMIC_RELEASE);
    op->consumed = op->done;
    return copy_records(s, op);
}

static int write_note(const struct serai_vfr_log *op)
{
    struct vfr_audit_entry e = {.origin = op->origin,
                                .op = op->note,
                                .uid = op->uid,
                                .pid = op->pid,
                                .object = op->object,
                                .before_len = op->before_len,
                                .after_len = op->after_len};
    char *text;
    int rc = -XEN_EFAULT;

    if (op->note < VFR_AUDIT_NOTE || op->note >= VFR_AUDIT_NOTES_END ||
        op->origin == VFR_BY_HYPERVISOR)
        return -XEN_EINVAL;
    if (op->before_len > VFR_NOTE_TEXT || op->after_len > VFR_NOTE_TEXT - op->before_len)
        return -XEN_E2BIG;
    text = heap_alloc_pages(NOTE_ORDER);
    if (!text)
        return -XEN_ENOMEM;
    if (!copy_from_guest(text, (const void *)op->text, op->before_len + op->after_len)) {
        e.before = text;
        e.after = text + op->before_len;
        rc = vfr_log_note(&e);
    }
    heap_free_pages(text, NOTE_ORDER);
    return rc;
}

static int start_capture(struct serai_vfr_log *op)
{
    u32 which;
    int rc = vfr_capture_start(op, &which);

    if (!rc)
        op->ring = VFR_RING_CAPTURE + which;
    return rc;
}

static int carry_out(struct serai_vfr_log *op)
{
    switch (op->op) {
    case VFR_LOG_READ:
        return read_ring(op);
    case VFR_LOG_NOTE:
        return write_note(op);
    case VFR_LOG_CHECKPOINT:
        return vfr_log_checkpoint();
    case VFR_LOG_CAPTURE:
        return start_capture(op);
    case VFR_LOG_CAPTURED:
        return vfr_capture_stop(op->ring - VFR_RING_CAPTURE);
    default:
        return -XEN_EINVAL;
    }
}

s64 hcall_vfr_log(u64 u_arg)
{
    struct serai_vfr_log op;
    int rc, copied;

    if (copy_from_guest(&op, (const void *)u_arg, sizeof(op)))
        return -XEN_EFAULT;
    if (op.reserved || op.reserved2 || op.reserved3)
        return -XEN_EINVAL;
    rc = carry_out(&op);
    op.nr_cpus = (u16)nr_cpus;
    op.now = time_now();
    op.utc = vtime_utc(op.now);
    if (!rc || op.op == VFR_LOG_READ)
        vfr_log_head(&op);
    copied = copy_to_guest((void *)u_arg, &op, sizeof(op));
    return rc ? rc : copied;
}
