/* Event ports: the table in chunks, the lowest free one, and what may be moved. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <xen/xen.h>

#include "core/evtchn.h"

static struct port chunks[PORT_CHUNKS][PORTS_PER_CHUNK];
static struct port_table table;

static int setup(void **state)
{
    memset(chunks, 0, sizeof(chunks));
    memset(&table, 0, sizeof(table));
    table.limit = EVTCHN_MAX_PORTS;
    return 0;
}

static void layout(void **state)
{
    assert_int_equal(sizeof(struct port), 8); /* read and written as one */
    assert_true(sizeof(struct port) * PORTS_PER_CHUNK <= PAGE_SIZE);
    assert_int_equal(PORT_CHUNKS * PORTS_PER_CHUNK, EVTCHN_MAX_PORTS);
    assert_int_equal(PORT_FREE, 0); /* zeroed memory is free ports */
}

static void get(void **state)
{
    const unsigned n = PORTS_PER_CHUNK;

    table.chunks[0] = chunks[0];
    table.chunks[2] = chunks[2];
    assert_null(port_get(&table, 0));
    assert_ptr_equal(port_get(&table, 1), &chunks[0][1]);
    assert_ptr_equal(port_get(&table, n - 1), &chunks[0][n - 1]);
    assert_null(port_get(&table, n));
    assert_null(port_get(&table, 2 * n - 1));
    assert_ptr_equal(port_get(&table, 2 * n), &chunks[2][0]);
    assert_null(port_get(&table, EVTCHN_MAX_PORTS - 1));
    assert_null(port_get(&table, EVTCHN_MAX_PORTS));
    assert_null(port_get(&table, ~0U));
    table.limit = 2 * n + 1;
    assert_non_null(port_get(&table, 2 * n));
    assert_null(port_get(&table, 2 * n + 1));
    table.limit = 2 * n;
    assert_null(port_get(&table, 2 * n));
}

static void look(void **state)
{
    struct port p = {.state = PORT_INTERDOMAIN, .vcpu = 3, .remote_dom = 7, .number = 4095};

    table.chunks[0] = chunks[0];
    port_write(port_get(&table, 5), p);
    chunks[0][0].state = PORT_IPI; /* port 0 is none, whatever lies there */
    p = port_look(&table, 5);
    assert_int_equal(p.state, PORT_INTERDOMAIN);
    assert_int_equal(p.vcpu, 3);
    assert_int_equal(p.remote_dom, 7);
    assert_int_equal(p.number, 4095);
    assert_int_equal(port_look(&table, 0).state, PORT_FREE);
    assert_int_equal(port_look(&table, 6).state, PORT_FREE);
    assert_int_equal(port_look(&table, PORTS_PER_CHUNK).state, PORT_FREE);
    assert_int_equal(port_look(&table, ~0U).state, PORT_FREE);
}

static void connections(void **state)
{
    for (enum port_state s = PORT_FREE; s <= PORT_IPI; s++) {
        struct port p = {.state = s, .remote_dom = 7, .number = 9};

        assert_int_equal(port_awaits(p, 7), s == PORT_UNBOUND);
        assert_false(port_awaits(p, 8));
        assert_int_equal(port_is_peer(p, 7, 9), s == PORT_INTERDOMAIN);
        assert_false(port_is_peer(p, 8, 9));
        assert_false(port_is_peer(p, 7, 8));
        /* A port number that has the same low bits. */
        assert_false(port_is_peer(p, 7, 9 + 0x10000));
    }
}

/* Fills the whole table the way the caller does, chunk by chunk. */
static void lowest_first(void **state)
{
    int chunk;

    for (int port = 1; port < EVTCHN_MAX_PORTS; port++) {
        assert_int_equal(port_find_free(&table, &chunk), port);
        assert_int_equal(
            chunk, port == 1 || port % PORTS_PER_CHUNK == 0 ? port / PORTS_PER_CHUNK : -1);
        if (chunk >= 0)
            table.chunks[chunk] = chunks[chunk];
        port_get(&table, (u32)port)->state = PORT_UNBOUND;
    }
    assert_int_equal(port_find_free(&table, &chunk), -XEN_ENOSPC);
    assert_int_equal(chunk, -1);
    /* Port 0 is never given away, though its slot is free. */
    assert_int_equal(chunks[0][0].state, PORT_FREE);
    chunks[9][17].state = PORT_FREE;
    chunks[12][0].state = PORT_FREE;
    assert_int_equal(port_find_free(&table, &chunk), 9 * PORTS_PER_CHUNK + 17);
    assert_int_equal(chunk, -1);
    chunks[9][17].state = PORT_IPI;
    assert_int_equal(port_find_free(&table, &chunk), 12 * PORTS_PER_CHUNK);
}

static void every_other_state_is_taken(void **state)
{
    int chunk;

    table.chunks[0] = chunks[0];
    for (enum port_state s = PORT_UNBOUND; s <= PORT_IPI; s++)
        chunks[0][s].state = s;
    assert_int_equal(port_find_free(&table, &chunk), PORT_IPI + 1);
}

static void limits(void **state)
{
    int chunk;

    table.limit = 3;
    assert_int_equal(port_find_free(&table, &chunk), 1);
    assert_int_equal(chunk, 0);
    table.chunks[0] = chunks[0];
    chunks[0][1].state = PORT_VIRQ;
    assert_int_equal(port_find_free(&table, &chunk), 2);
    chunks[0][2].state = PORT_VIRQ;
    assert_int_equal(port_find_free(&table, &chunk), -XEN_ENOSPC);
    table.limit = 4;
    assert_int_equal(port_find_free(&table, &chunk), 3);
    /* One port into the next chunk. */
    for (unsigned i = 1; i < PORTS_PER_CHUNK; i++)
        chunks[0][i].state = PORT_PIRQ;
    table.limit = PORTS_PER_CHUNK;
    assert_int_equal(port_find_free(&table, &chunk), -XEN_ENOSPC);
    table.limit = PORTS_PER_CHUNK + 1;
    assert_int_equal(port_find_free(&table, &chunk), PORTS_PER_CHUNK);
    assert_int_equal(chunk, 1);
    table.chunks[1] = chunks[1];
    assert_int_equal(port_find_free(&table, &chunk), PORTS_PER_CHUNK);
    assert_int_equal(chunk, -1);
    chunks[1][0].state = PORT_PIRQ;
    assert_int_equal(port_find_free(&table, &chunk), -XEN_ENOSPC);
    table.limit = 0;
    assert_int_equal(port_find_free(&table, &chunk), -XEN_ENOSPC);
}

static void limit_of_one(void **state)
{
    int chunk;

    table.limit = 1;
    assert_int_equal(port_find_free(&table, &chunk), -XEN_ENOSPC);
}

static void moving(void **state)
{
    struct port p = {0};

    for (enum port_state s = PORT_FREE; s <= PORT_IPI; s++) {
        p.state = s;
        p.number = VIRQ_CONSOLE;
        assert_int_equal(port_may_move(p), s != PORT_FREE && s != PORT_IPI);
        p.number = VIRQ_TIMER;
        /* The number is that of a virq for VIRQs only. */
        assert_int_equal(port_may_move(p), s != PORT_FREE && s != PORT_IPI && s != PORT_VIRQ);
    }
}

static void virqs(void **state)
{
    for (unsigned v = 0; v < 300; v++)
        assert_int_equal(virq_is_per_vcpu(v), v == VIRQ_TIMER || v == VIRQ_DEBUG ||
                                                  v == VIRQ_XENOPROF || v == VIRQ_XENPMU);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(layout, setup),
        cmocka_unit_test_setup(get, setup),
        cmocka_unit_test_setup(look, setup),
        cmocka_unit_test_setup(connections, setup),
        cmocka_unit_test_setup(lowest_first, setup),
        cmocka_unit_test_setup(every_other_state_is_taken, setup),
        cmocka_unit_test_setup(limits, setup),
        cmocka_unit_test_setup(limit_of_one, setup),
        cmocka_unit_test_setup(moving, setup),
        cmocka_unit_test_setup(virqs, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
