#include "core/vfr_audit.h"
#include "base/string.h"

static bool has_form(const struct vfr_log_head *head, u64 rest)
{
    const u32 least = head->type == VFR_RECORD_CHECKPOINT ? sizeof(struct vfr_log_checkpoint)
                                                          : sizeof(struct vfr_log_audit);

    return (head->type == VFR_RECORD_AUDIT || head->type == VFR_RECORD_CHECKPOINT) &&
           head->len <= rest && head->len % 8 == 0 && head->len <= VFR_AUDIT_RECORD &&
           head->len >= least + sizeof(struct vfr_log_chain);
}

static enum vfr_audit_fault verify_one(struct vfr_audit_proof *p, const u8 *record, u64 rest,
                                       u32 *len)
{
    u8 self[SHA256_SIZE];
    struct vfr_log_chain chain;
    struct vfr_log_head head;
    struct sha256 digest;

    if (rest < sizeof(head))
        return VFR_AUDIT_FORM;
    memcpy(&head, record, sizeof(head));
    if (!has_form(&head, rest))
        return VFR_AUDIT_FORM;
    if (head.seq != (u32)p->records)
        return VFR_AUDIT_SEQ;
    memcpy(&chain, record + head.len - sizeof(chain), sizeof(chain));
    if (memcmp(chain.before, p->head, sizeof(p->head)))
        return VFR_AUDIT_BEFORE;
    sha256_begin(&digest);
    sha256_add(&digest, p->head, sizeof(p->head));
    sha256_add(&digest, record, head.len - sizeof(chain.self));
    sha256_end(&digest, self);
    if (memcmp(chain.self, self, sizeof(self)))
        return VFR_AUDIT_DIGEST;
    memcpy(p->head, self, sizeof(self));
    p->records++;
    *len = head.len;
    return VFR_AUDIT_OK;
}

enum vfr_audit_fault vfr_audit_verify(struct vfr_audit_proof *p, const u8 *bytes, u64 len,
                                      u64 *at)
{
    u32 n;

    for (*at = 0; *at < len; *at += n) {
        enum vfr_audit_fault fault = verify_one(p, bytes + *at, len - *at, &n);

        if (fault != VFR_AUDIT_OK)
            return fault;
        if (p->records == p->known_records && memcmp(p->head, p->known_head, sizeof(p->head)))
            return VFR_AUDIT_OTHER;
    }
    return VFR_AUDIT_OK;
}

enum vfr_audit_fault vfr_audit_verify_end(const struct vfr_audit_proof *p)
{
    return p->records < p->known_records ? VFR_AUDIT_CUT : VFR_AUDIT_OK;
}
