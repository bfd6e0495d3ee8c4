/* The trap table, the record of the last trap, and recovery from faults tests cause. */
#include "guest.h"

volatile struct trap trap;
volatile u64 events_seen, event_rip;
u8 event_saved_mask;
void (*event_hook)(void);

struct ex_entry {
    u64 rip, resume;
};
extern const struct ex_entry ex_start[], ex_end[];

const char *vec_name(u64 vec)
{
    static const char *const names[] = {"#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD",
                                        "#NM", "#DF", "9",   "#TS", "#NP", "#SS", "#GP",
                                        "#PF", "15",  "#MF", "#AC", "#MC", "#XM"};

    if (vec < sizeof(names) / sizeof(names[0]))
        return names[vec];
    if (vec == VEC_FAILSAFE)
        return "failsafe";
    return vec == VEC_SYSCALL ? "syscall" : vec == VEC_NONE ? "none" : "other";
}

void trap_clear(void)
{
    trap.vec = VEC_NONE;
    trap.count = 0;
}

static void fatal(const struct regs *r)
{
    print("Bail out! unexpected trap %lu (%s) ec %lx rip %lx cs %lx rsp %lx cr2 %lx\n", r->vec,
          vec_name(r->vec), r->ec, r->rip, r->cs, r->rsp, (u64)vi->arch.cr2);
    power_off();
}

static void event(const struct regs *r)
{
    events_seen++;
    event_rip = r->rip;
    event_saved_mask = r->cs >> 32;
    vi->evtchn_upcall_pending = 0;
    vi->evtchn_pending_sel = 0;
    if (event_hook)
        event_hook();
}

static bool fixed_up(struct regs *r)
{
    for (const struct ex_entry *e = ex_start; e < ex_end; e++)
        if (e->rip == r->rip || (e->resume == r->rip && (r->vec == 3 || r->vec >= 32))) {
            r->rip = e->resume;
            return true;
        }
    return false;
}

void trap_enter(struct regs *r)
{
    if (r->vec == VEC_EVENT) {
        event(r);
        return;
    }
    trap.vec = r->vec;
    trap.count++;
    trap.r = *r;
    trap.cr2 = vi->arch.cr2;
    trap.flags = entry_flags;
    trap.mask = vi->evtchn_upcall_mask;
    trap.aligned = ((u64)(r + 1) & 15) == 0;
    if (resume_sp)
        leave_context(0);
    if ((r->cs & 3) == 3)
        fatal(r);
    if (fixed_up(r))
        return;
    if (r->vec == 1)
        r->rflags &= ~0x100UL;
    else if (r->vec != 2 && r->vec != 3 && r->vec != 4 && r->vec < 32)
        fatal(r);
}

u64 try_read(u64 va, u64 *val)
{
    u64 got = 0, vec;

    vec = EX("movq (%1), %0", : "+r"(got) : "r"(va) : "memory");
    if (val)
        *val = got;
    return vec;
}

u64 try_write(u64 va, u64 val)
{
    return EX("movq %0, (%1)", : : "r"(val), "r"(va) : "memory");
}

void callback_register(unsigned type, void *stub, unsigned flags)
{
    struct callback_register cb = {.type = type, .flags = flags, .address = (u64)stub};

    hc_callback(CALLBACKOP_register, &cb);
}

/* flags_all is or-ed into every gate: 3 lets user mode use it, 4 masks events. */
void trap_table_at(u8 flags_all, const char *stubs)
{
    static struct trap_info table[257];

    for (unsigned v = 0; v < 256; v++) {
        table[v].vector = v;
        table[v].flags = flags_all | (v == 3 || v == 4 || v == 0x80 ? 3 : 0);
        table[v].cs = FLAT_KERNEL_CS;
        table[v].address = (u64)stubs + v * 16;
    }
    table[256].address = 0;
    if (hc_set_trap_table(table))
        die("set_trap_table failed");
}

void trap_table_install(u8 flags_all)
{
    trap_table_at(flags_all, trap_stubs);
}

void trap_init(void)
{
    trap_table_install(0);
    callback_register(CALLBACKTYPE_event, event_stub, CALLBACKF_mask_events);
    callback_register(CALLBACKTYPE_failsafe, failsafe_stub, CALLBACKF_mask_events);
    hc_stack_switch(FLAT_KERNEL_SS, (u64)trap_stack_top);
    trap_clear();
}
