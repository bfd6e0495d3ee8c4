/*
 * LZ4 in its first format, which Linux uses: a magic number, then blocks of at most 8 MiB, each
 * behind its packed size, and no sign of the end. It carries no checksum. What Linux appends, the
 * unpacked size, is the only check there is, and where the blocks end; so it must be there.
 *
 * A block is sequences: a byte with two lengths of 4 bits, so many literals, then a distance of 16
 * bits and so many bytes (and four more) from there; a length of 15 goes on in further bytes. The
 * last sequence has literals only.
 */
#include "base/unpack_impl.h"
#include "base/string.h"

#define BLOCK_MAX (8UL << 20)
#define TRAILER   4
#define LONG      15
#define MATCH_MIN 4

struct block {
    const u8 *in, *end;
    u8 *out;
    size_t done, room, slack; /* bytes written, allowed, and after those in the buffer */
};

static int read_length(struct unpack_job *job, struct block *b, size_t *len)
{
    u8 more = 255;

    if (*len != LONG)
        return 0;
    while (more == 255) {
        if (b->in == b->end)
            return unpack_truncated(job);
        more = *b->in++;
        *len += more;
    }
    return 0;
}

static int no_room(struct unpack_job *job, const struct block *b)
{
    if (b->room < BLOCK_MAX)
        return unpack_overflow(job);
    return unpack_fail(job, -XEN_EINVAL, "LZ4 block of more than 8 MiB");
}

static int literals(struct unpack_job *job, struct block *b, size_t len)
{
    int rc = read_length(job, b, &len);

    if (rc)
        return rc;
    if ((size_t)(b->end - b->in) < len)
        return unpack_truncated(job);
    if (b->room - b->done < len)
        return no_room(job, b);
    memcpy(b->out + b->done, b->in, len);
    b->in += len;
    b->done += len;
    return 0;
}

static int match(struct unpack_job *job, struct block *b, size_t len)
{
    size_t distance;
    int rc;

    if (b->end - b->in < 2)
        return unpack_truncated(job);
    distance = (size_t)b->in[0] | (size_t)b->in[1] << 8;
    b->in += 2;
    if (!distance || distance > b->done)
        return unpack_fail(job, -XEN_EINVAL, "LZ4 match before the block's start");
    rc = read_length(job, b, &len);
    if (rc)
        return rc;
    len += MATCH_MIN;
    if (b->room - b->done < len)
        return no_room(job, b);
    if (b->room - b->done - len + b->slack >= COPY_SLACK)
        copy_match(b->out + b->done, distance, len);
    else
        copy_exact(b->out + b->done, distance, len);
    b->done += len;
    return 0;
}

static int decode_block(struct unpack_job *job, struct block *b)
{
    for (;;) {
        int rc;
        u8 token;

        if (b->in == b->end)
            return unpack_truncated(job);
        token = *b->in++;
        rc = literals(job, b, token >> 4);
        if (rc || b->in == b->end)
            return rc;
        rc = match(job, b, token & LONG);
        if (rc)
            return rc;
    }
}

int lz4_decode(struct unpack_job *job)
{
    const u8 *in = job->in + MIN(4UL, job->in_len), *end = job->in + job->in_len;

    while (end - in > TRAILER) {
        size_t size = get_le32(in), room = job->out_cap - job->out_len;
        struct block b = {.in = in + 4, .out = job->out + job->out_len};
        int rc;

        if ((size_t)(end - b.in) < size)
            return unpack_truncated(job);
        b.end = in = b.in + size;
        b.room = MIN(room, BLOCK_MAX);
        b.slack = room - b.room;
        rc = decode_block(job, &b);
        if (rc)
            return rc;
        job->out_len += b.done;
    }
    if (end - in != TRAILER)
        return unpack_truncated(job);
    if (get_le32(in) != (u32)job->out_len)
        return unpack_fail(job, -XEN_EINVAL, "LZ4 data of another size than Linux says");
    return 0;
}
