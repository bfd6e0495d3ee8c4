#include "frame.h"

void frame_put16(u8 *p, u32 v)
{
    p[0] = (u8)(v >> 8);
    p[1] = (u8)v;
}

void frame_put32(u8 *p, u32 v)
{
    frame_put16(p, v >> 16);
    frame_put16(p + 2, v);
}

u32 frame_get16(const u8 *p)
{
    return (u32)p[0] << 8 | p[1];
}

u32 frame_get32(const u8 *p)
{
    return frame_get16(p) << 16 | frame_get16(p + 2);
}

static u32 add(u32 sum, const u8 *p, u32 n)
{
    for (u32 i = 0; i < n; i++)
        sum += i % 2 ? p[i] : (u32)p[i] << 8;
    return sum;
}

static u32 fold(u32 sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return ~sum & 0xffff;
}

static void ethernet(u8 *p, u8 mac, u32 type)
{
    const u8 head[] = {FRONT_ROUTER, 2, 0, 0, 0, 0, mac};

    memcpy(p, head, sizeof(head));
    frame_put16(p + 12, type);
}

void frame_sum_ip4(u8 *p)
{
    frame_put16(p + 24, 0);
    frame_put16(p + 24, fold(add(0, p + 14, 20)));
}

u32 frame_ip4(u8 *p, u8 mac, u32 src, u32 dst, u8 proto, u32 len)
{
    memset(p, 0, FRAME_IP4);
    ethernet(p, mac, 0x0800);
    p[14] = 0x45;
    frame_put16(p + 16, 20 + len);
    p[22] = 64;
    p[23] = proto;
    frame_put32(p + 26, src);
    frame_put32(p + 30, dst);
    frame_sum_ip4(p);
    for (u32 i = 0; i < len; i++)
        p[FRAME_IP4 + i] = (u8)(i * 7 + src);
    return FRAME_IP4 + len;
}

void frame_piece4(u8 *p, u16 id, u32 frag)
{
    frame_put16(p + 18, id);
    frame_put16(p + 20, frag);
    frame_sum_ip4(p);
}

u32 frame_ip6(u8 *p, u8 mac, u8 src, u8 dst, u8 next, u32 len)
{
    memset(p, 0, FRAME_IP6);
    ethernet(p, mac, 0x86dd);
    p[14] = 0x60;
    frame_put16(p + 18, len);
    p[20] = next;
    p[21] = 64;
    p[22] = p[38] = 0xfd;
    p[37] = src;
    p[53] = dst;
    for (u32 i = 0; i < len; i++)
        p[FRAME_IP6 + i] = (u8)(i * 5 + src);
    return FRAME_IP6 + len;
}

void frame_ports(u8 *l4, u16 sport, u16 dport)
{
    frame_put16(l4, sport);
    frame_put16(l4 + 2, dport);
}

static bool is_ip4(const u8 *p)
{
    return p[12] == 8 && p[13] == 0;
}

static u32 l4_of(const u8 *p)
{
    return is_ip4(p) ? 14 + (p[14] & 15) * 4 : FRAME_IP6;
}

static u32 l4_len(const u8 *p)
{
    return is_ip4(p) ? frame_get16(p + 16) + 14 - l4_of(p) : frame_get16(p + 18);
}

static u8 proto_of(const u8 *p)
{
    return is_ip4(p) ? p[23] : p[20];
}

u32 frame_l4_sum(const u8 *p)
{
    u32 len = l4_len(p), sum = 0;

    if (proto_of(p) != 1) {
        sum = is_ip4(p) ? add(sum, p + 26, 8) : add(sum, p + 22, 32);
        sum += proto_of(p) + len;
    }
    return fold(add(sum, p + l4_of(p), len));
}

bool frame_is_sound(const u8 *p)
{
    if (is_ip4(p) && fold(add(0, p + 14, (p[14] & 15) * 4)))
        return false;
    return !frame_l4_sum(p);
}

void frame_udp(u8 *p, u16 sport, u16 dport)
{
    u8 *l4 = p + l4_of(p);

    frame_ports(l4, sport, dport);
    frame_put16(l4 + 4, l4_len(p));
    frame_put16(l4 + 6, 0);
    frame_put16(l4 + 6, frame_l4_sum(p));
}

void frame_sum_icmp4(u8 *p)
{
    frame_put16(p + l4_of(p) + 2, 0);
    frame_put16(p + l4_of(p) + 2, frame_l4_sum(p));
}

void frame_echo(u8 *p, u8 type, u16 id)
{
    u8 *l4 = p + l4_of(p);

    l4[0] = type;
    l4[1] = 0;
    frame_put16(l4 + 4, id);
    frame_put16(l4 + 6, 1);
    frame_sum_icmp4(p);
}
