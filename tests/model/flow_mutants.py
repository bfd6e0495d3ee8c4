"""Errors to seed in the flows' shipped sources: the file, its words, ours, and what is wrong.

Words must be there exactly once. Either flow_model.c or flows.c must find each error.
"""

FLOW, TABLE, CHAIN = "vfr_flow.c", "vfr_flow_table.c", "vfr_flow_chain.c"

MUTANTS = [
    # Finding
    (FLOW, "        r = look(t, key->old_hash, key, use, hit);\n", "",
     "the old place is not looked at"),
    (FLOW, "            r = look(t, key->hash, key, use, hit);\n", "            ;\n",
     "the new place is not looked at again after the old one"),
    (FLOW, "key, use, hit);\n    }\n    if (r == VFR_FLOW_MISS && __atomic_load_n(&t->epoch, __ATOMIC_ACQUIRE) != key->epoch)",
     "key, use, hit);\n    }\n    if (false)",
     "a miss by a key of another epoch counts"),
    (FLOW, "*answer = key->flags & VFR_P_ANSWER || ", "*answer = ",
     "an ICMP answer is taken for a question"),
    (FLOW, " && !(key->flags & VFR_P_QUERY)", "", "an ICMP question is taken for an answer"),
    # States
    (FLOW, "    else\n        f->marks &= ~(VFR_FLOW_RST << answer);\n", "",
     "a reset counts for ever"),
    (FLOW, "           begins_anew(f, use->tcp_flags);", "           false;",
     "a closing connection cannot begin anew"),
    (FLOW, "    if (is_stale(f, use))\n        return VFR_FLOW_STALE;\n", "",
     "old rules go on for flows that are not open"),
    (FLOW, " && !is_stale(f, use) &&", " &&", "old rules go on for open flows"),
    (FLOW, "           use->now - f->last <= idle_max[f->timer];", "           true;",
     "open flows do not get too old"),
    (FLOW, "use->now - f->last > idle_max[f->timer] || !goes_by", "!goes_by",
     "flows do not get too old"),
    (FLOW, "    if (tcp_flags & TCP_RST)\n        return false;\n    return f->marks",
     "    if (tcp_flags & TCP_RST)\n        return true;\n    return f->marks",
     "a refusal is an answer"),
    (FLOW, "    count(f, use, answer);\n    f->last = use->now;\n    unlock(home);\n",
     "    unlock(home);\n    count(f, use, answer);\n    f->last = use->now;\n",
     "the bucket is unlocked before the packet is counted"),
    (FLOW, "    tell(f, (u32)(f - t->flow), answer, hit);\n    count(f, use, answer);\n",
     "    tell(f, (u32)(f - t->flow), !answer, hit);\n    count(f, use, answer);\n",
     "answers are told as questions"),
    # Quotas
    (TABLE, "MIN(vif->quota, t->nr_flows - t->used)", "t->nr_flows - t->used",
     "there is no quota"),
    (TABLE, "        if (!was_answered(f)) {", "        if (true) {",
     "whether a flow was answered is looked at without its lock only"),
    (TABLE, "        if (was_answered(f)) {\n            list_remove(t, i);\n            continue;",
     "        if (was_answered(f)) {\n            return false;",
     "an answered flow hides the others"),
    (TABLE, "    t->vif[f->vif[0]].flows--;\n", "", "a flow that ended counts for the quota"),
    (TABLE, "    t->vif[f->vif[0]].flows--;\n", "    t->vif[f->vif[1]].flows--;\n",
     "the wrong interface gets back what a flow took"),
    (TABLE, "    f->prev = vif->last;\n    if (vif->last == VFR_FLOW_NONE)\n        vif->first = i;\n"
     "    else\n        t->flow[vif->last].next = i;\n    vif->last = i;\n",
     "    f->prev = VFR_FLOW_NONE;\n    f->next = vif->first;\n"
     "    if (vif->first == VFR_FLOW_NONE)\n        vif->last = i;\n"
     "    else\n        t->flow[vif->first].prev = i;\n    vif->first = i;\n",
     "the youngest goes first"),
    (TABLE, "    list_remove(t, i);\n    vfr_flow_chain_remove", "    vfr_flow_chain_remove",
     "a flow that ended stays in its interface's list"),
    # Beginning and ending
    (TABLE, " || !clear_the_way(t, key, use))", ")", "nobody looks whether there is such a flow"),
    (TABLE, "    if (key->epoch != t->epoch || ", "    if (",
     "a flow begins in the place of another epoch"),
    (TABLE, "    over = vfr_flow_has_expired(f, now);\n", "    over = true;\n",
     "whether a flow is too old is looked at without its lock only"),
    (TABLE, "            !try_end(t, *at, VFR_END_FORCED))\n            return false;\n",
     "            !try_end(t, *at, VFR_END_FORCED))\n            continue;\n",
     "who kills passes by what is locked"),
    (TABLE, "f->vif[0] != m->vif && f->vif[1] != m->vif)", "f->vif[0] != m->vif)",
     "a kill spares what goes to the interface"),
    (TABLE, "    if (!try_lock(home))\n        return false;\n    vfr_flow_end(t, i, why);\n",
     "    (void)try_lock(home);\n    vfr_flow_end(t, i, why);\n",
     "a flow ends although its bucket is locked"),
    # Moving
    (CHAIN, "    if (to != from && !try_lock(&t->bucket[to])) {\n        unlock(&t->bucket[from]);\n"
     "        return false;\n    }\n",
     "    if (to != from)\n        (void)try_lock(&t->bucket[to]);\n",
     "a flow moves into a bucket that is locked"),
    (CHAIN, "(f->home & HOME_LISTED) | to |", "to |",
     "a flow that moves forgets that it is in a list"),
    (CHAIN, "    if (!try_lock(&t->bucket[from]))\n        return false;\n",
     "    (void)try_lock(&t->bucket[from]);\n", "a flow moves out of a bucket that is locked"),
]
