/* The cases that are not the scheduler's: frame types, page-table writes, CPUID, MSRs, ports. */
#include "measure.h"
#include "hot.h"
#include "core/cpuid_policy.h"
#include "core/msr_policy.h"

extern struct frame *frames;

/* These have no state that varies: every sample is the same. */
#define SAMPLE(name, prepare, act, ok)                                                         \
    do {                                                                                       \
        for (unsigned sample_ = 0; sample_ < SAMPLES; sample_++) {                             \
            prepare;                                                                           \
            measure_begin();                                                                   \
            act;                                                                               \
            measure_keep(name);                                                                \
            expect(ok, name);                                                                  \
        }                                                                                      \
    } while (0)

/* ---- frame types ---- */

static void set_frame(enum frame_type t, u64 uses, enum frame_type last)
{
    u64 typ = t | TYP_INUSE | TYP_VALID | uses << TYP_SHIFT;

    frames[3].typ = uses ? typ : typ_stamped(last, HOT_CLOCK);
    frames[3].ref = REF_OWNER(HOT_OWNER) | REF_ALLOCATED | (uses ? 2 : 1);
    hot_flushes = hot_validations = 0;
}

static void type_cases(void)
{
    const mfn_t mfn = MFN(3);
    int rc;
    bool ok;

    SAMPLE("frame|a further writable use||0", set_frame(TYPE_WRITABLE, 5, 0),
           rc = measured_take_and_drop(HOT_OWNER, mfn, TYPE_WRITABLE),
           !rc && typ_count(frames[3].typ) == 5);
    SAMPLE("frame|a further L1 use||0", set_frame(TYPE_L1, 1, 0),
           rc = measured_take_and_drop(HOT_OWNER, mfn, TYPE_L1),
           !rc && typ_count(frames[3].typ) == 1);
    SAMPLE("frame|the only writable use||0", set_frame(0, 0, TYPE_WRITABLE),
           rc = measured_take_and_drop(HOT_OWNER, mfn, TYPE_WRITABLE),
           !rc && !hot_flushes && !(frames[3].typ & TYP_INUSE));
    SAMPLE("frame|the only L1 use, no change of type||0", set_frame(0, 0, TYPE_L1),
           rc = measured_take_and_drop(HOT_OWNER, mfn, TYPE_L1),
           !rc && !hot_flushes && hot_validations == 1);
    SAMPLE("frame|the only L1 use, was writable||0", set_frame(0, 0, TYPE_WRITABLE),
           rc = measured_take_and_drop(HOT_OWNER, mfn, TYPE_L1),
           !rc && hot_flushes == 1 && hot_validations == 1);
    SAMPLE("frame|refused: in use as an L1||0", set_frame(TYPE_L1, 1, 0),
           rc = measured_take_and_drop(HOT_OWNER, mfn, TYPE_WRITABLE), rc == -XEN_EINVAL);
    SAMPLE("frame|a reference (read-only mapping)||0", set_frame(TYPE_WRITABLE, 5, 0),
           ok = measured_get_and_put(HOT_OWNER, mfn), ok);
}

/* ---- page-table writes ---- */

struct code {
    const char *name;
    u8 bytes[16];
};

/* The operand is at rbx + disp; what is stored comes from rax. */
static const struct code stores[] = {
    {"mov %rax,(%rbx)", {0x48, 0x89, 0x03}},
    {"mov %rax,0x10(%rbx,%rcx,8)", {0x48, 0x89, 0x44, 0xcb, 0x10}},
    {"xchg %rax,(%rbx)", {0x48, 0x87, 0x03}},
    {"lock andb $0xfd,(%rbx)", {0xf0, 0x80, 0x23, 0xfd}},
};
static const struct code others[] = {
    {"lock cmpxchg %rdx,(%rbx)", {0xf0, 0x48, 0x0f, 0xb1, 0x13}},
    {"lock btrq $1,(%rbx)", {0xf0, 0x48, 0x0f, 0xba, 0x33, 0x01}},
    {"movq $0,(%rbx)", {0x48, 0xc7, 0x03, 0, 0, 0, 0}},
};

static void store_case(const struct code *c)
{
    struct pte_store st;
    char name[80];
    bool ok;

    snprintf(name, sizeof(name), "store|the three common forms: %s||0", c->name);
    SAMPLE(name, (void)0, ok = measured_pte_store(c->bytes, &st), ok);
}

static void emulate_case(const struct code *c, bool indexed)
{
    struct insn_regs regs = {0};
    struct insn insn;
    char name[80];
    u64 slots[4];
    int rc;

    snprintf(name, sizeof(name), "insn|decode %s||0", c->name);
    SAMPLE(name, (void)0, rc = measured_decode(c->bytes, &insn),
           !rc && insn.op == INSN_MEM_WRITE);
    snprintf(name, sizeof(name), "insn|decode, compute, commit %s||0", c->name);
    regs.gpr[3] = (u64)slots;
    SAMPLE(name, (regs.rip = 0, regs.gpr[0] = slots[0] = slots[2] = 0x8000000012345067UL),
           rc = measured_emulate(c->bytes, &regs, &slots[indexed ? 2 : 0]), !rc && regs.rip);
}

static void insn_cases(void)
{
    struct insn insn;
    u64 pte;
    bool ok;
    int rc;
    static const u8 cpuid[16] = {0x0f, 0xa2}, bad[16] = {0x0f, 0x0b};

    for (unsigned i = 0; i < ARRAY_SIZE(stores); i++)
        store_case(&stores[i]);
    for (unsigned i = 0; i < ARRAY_SIZE(stores); i++)
        emulate_case(&stores[i], i == 1);
    for (unsigned i = 0; i < ARRAY_SIZE(others); i++)
        emulate_case(&others[i], false);
    SAMPLE("insn|decode cpuid||0", (void)0, rc = measured_decode(cpuid, &insn),
           !rc && insn.op == INSN_CPUID);
    SAMPLE("insn|decode ud2, which is none of ours||0", (void)0,
           rc = measured_decode(bad, &insn), rc == -XEN_EINVAL);
    SAMPLE("insn|an L1 entry judged and adjusted||0", pte = 0x8000000012345067UL,
           ok = measured_pte(&pte), ok);
}

/* ---- what a guest asks of its CPU ---- */

static const struct {
    u32 leaf, subleaf;
    struct cpuid_regs r;
} leaves[] = {
    {0, 0, {0xd, 0x68747541, 0x444d4163, 0x69746e65}},
    {1, 0, {0x60fb1, 0x1020800, 0xfed8320b, 0x1fcbfbfd}},
    {7, 0, {0, 0x1d843a9, 0x8001021c, 0}},
    {0xd, 0, {0x21f, 0xa88, 0xa88, 0}},
    {0x40000000, 0, {0, 0, 0, 0}},
    {0x40000003, 1, {0, 0, 0, 0}},
    {0x80000001, 0, {0x60fb1, 0, 0x77, 0xedd3fbfd}},
};

static void cpuid_cases(void)
{
    struct cpuid_host host = {.vendor = CPU_VENDOR_AMD, .max_leaf = 0xd, .rdtscp = true};
    struct cpuid_policy_in in = {.host = &host,
                                 .xcr0_supported = 7,
                                 .guest_xcr0 = 7,
                                 .hwdom = true,
                                 .guest_osxsave = true,
                                 .fsgsbase = true,
                                 .nr_vcpus = 4,
                                 .tsc_khz = 2600000,
                                 .tsc_mul = 1 << 30,
                                 .xen_version = 4 << 16 | 17,
                                 .maddr_bits = 40};
    struct cpuid_regs r;
    char name[80];

    host.max_ext_leaf = 0x8000000a;
    host.xstate[2].offset = 0x240;
    host.xstate[2].size = 0x100;
    for (unsigned i = 0; i < ARRAY_SIZE(leaves); i++) {
        snprintf(name, sizeof(name), "policy|CPUID leaf 0x%x||0", leaves[i].leaf);
        SAMPLE(name, r = leaves[i].r,
               cpuid_policy_apply(leaves[i].leaf, leaves[i].subleaf, &r, &in),
               r.eax | r.ebx | r.ecx | r.edx);
    }
}

static void msr_cases(void)
{
    struct msr_policy_in in = {.vendor = CPU_VENDOR_AMD, .hwdom = true, .rdtscp = true};
    enum msr_verdict v;
    u64 val;

    SAMPLE("policy|RDMSR of the GS base||0", (void)0,
           v = msr_policy_read(0xc0000101, &in, &val), v == MSR_VCPU_GS_BASE);
    SAMPLE("policy|WRMSR of the GS base||0", (void)0,
           v = msr_policy_write(0xc0000101, 0xffff888000000000UL, &in), v == MSR_VCPU_GS_BASE);
    SAMPLE("policy|RDMSR of one that is unknown||0", (void)0,
           v = msr_policy_read(0x12345, &in, &val), v == MSR_GP);
}

/* ---- event ports ---- */

static void port_cases(void)
{
    static struct port ports[PORTS_PER_CHUNK];
    struct port_table t = {.chunks = {ports}, .limit = EVTCHN_MAX_PORTS};
    const struct port *p;
    int chunk, port;

    SAMPLE("port|look-up||0", (void)0, p = measured_port_get(&t, 17), p == &ports[17]);
    for (unsigned i = 1; i < PORTS_PER_CHUNK; i++)
        ports[i].state = i < 64 ? PORT_IPI : PORT_FREE;
    SAMPLE("port|the lowest free one, 63 in use||0", (void)0, port = port_find_free(&t, &chunk),
           port == 64 && chunk == -1);
}

void other_cases(void)
{
    type_cases();
    insn_cases();
    cpuid_cases();
    msr_cases();
    port_cases();
}
