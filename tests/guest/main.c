/* Picks the groups named by test=a+b+c on the command line. */
#include "domu.h"

static const struct {
    const char *name;
    void (*run)(void);
} groups[] = {
    {"boot", test_boot},
    {"traps", test_traps},
    {"mmu", test_mmu},
    {"ptwr", test_ptwr},
    {"hostile", test_hostile},
    {"handles", test_handles},
    {"emul", test_emul},
    {"events", test_events},
    {"regress", test_regress},
    {"fuzz", test_fuzz},
    {"smp-life", test_smp_life},
    {"smp-flip", test_smp_flip},
    {"smp-gangs", test_smp_gangs},
    {"smp-sharers", test_smp_sharers},
    {"smp-tlb", test_smp_tlb},
    {"smp-filter", test_smp_filter},
    {"attacks", test_attacks},
    {"attacks2", test_attacks2},
    {"abi", test_abi},
    {"abi2", test_abi2},
    {"memory", test_memory},
    {"memory-domu", test_memory_domu},
    {"smp-events", test_smp_events},
    {"smp-hostile", test_smp_hostile},
    {"smp-hostile2", test_smp_hostile2},
    {"smp-over", test_smp_over},
    {"twodom", test_twodom},
    {"vif", test_vif},
    {"vif-pieces", test_vif_pieces},
    {"vif-shared", test_vif_shared},
    {"vif-switch", test_vif_switch},
    {"vif-finish", test_vif_finish},
    {"vif-daemons", test_vif_daemons},
    {"vif-bench", test_vif_bench},
    {"vif-policy", test_vif_policy},
    {"vif-log", test_vif_log},
    {"vif-shape", test_vif_shape},
    {"vif-soak", test_vif_soak},
    {"grants", test_grants},
    {"grants2", test_grants2},
    {"save", test_save},
    {"domevents", test_domevents},
    {"queues", test_queues},
    {"smp-domevents", test_smp_domevents},
    {"toolstack", test_toolstack},
    {"toolstack2", test_toolstack2},
    {"smp-grants", test_smp_grants},
    {"toolstack3", test_toolstack3},
    {"devices", test_devices},
    {"smp-toolstack", test_smp_toolstack},
    {"many", test_many},
    {"cycles", test_cycles},
};

void guest_main(struct start_info *si);

static bool named(const char *list, const char *name)
{
    size_t n = strlen(name);

    for (; list && *list && *list != ' '; list++) {
        if (has_prefix(list, name) && (!list[n] || list[n] == ' ' || list[n] == '+'))
            return true;
        while (list[1] && list[1] != '+' && list[1] != ' ')
            list++;
        if (list[1] == '+')
            list++;
    }
    return false;
}

void guest_main(struct start_info *si)
{
    const char *list;
    bool any = false;

    domu_keep_image();
    guest_begin(si);
    list = option("test");
    print("TAP version 13\n");
    note("on %s, %lu pages", is_serai ? "serai" : "stock Xen", (u64)start->nr_pages);
    for (unsigned i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
        if (!named(list, groups[i].name))
            continue;
        any = true;
        group(groups[i].name);
        groups[i].run();
    }
    if (list && has_prefix(list, "crash-")) {
        any = true;
        group("crash");
        test_crash(list + 6);
    }
    ok(any, "a group of that name exists");
    finish();
}
