#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/elf.h"
#include "base/string.h"
#include "abi/elf.h"

#include <xen/elfnote.h>

#define VIRT  0xffffffff80000000ULL
#define NOTES 0x800

/* A file of two segments and a note area, in one buffer. */
struct file {
    u8 bytes[4096];
    size_t notes_len;
};

static struct elf64_ehdr *ehdr(struct file *f)
{
    return (struct elf64_ehdr *)f->bytes;
}

static struct elf64_phdr *phdr(struct file *f, unsigned i)
{
    return (struct elf64_phdr *)(f->bytes + sizeof(struct elf64_ehdr)) + i;
}

static struct elf64_shdr *shdr(struct file *f)
{
    return (struct elf64_shdr *)(f->bytes + 0x400);
}

static void add_note(struct file *f, const char *owner, u32 type, const void *desc, u32 len)
{
    struct elf64_nhdr nh = {strlen(owner) + 1, len, type};
    u8 *p = f->bytes + NOTES + f->notes_len;

    memcpy(p, &nh, sizeof(nh));
    memcpy(p + sizeof(nh), owner, nh.n_namesz);
    memcpy(p + sizeof(nh) + ROUND_UP(nh.n_namesz, 4), desc, len);
    f->notes_len += sizeof(nh) + ROUND_UP(nh.n_namesz, 4) + ROUND_UP(len, 4);
    phdr(f, 2)->p_filesz = f->notes_len;
    shdr(f)->sh_size = f->notes_len;
}

static void add_number(struct file *f, u32 type, u64 value, u32 len)
{
    add_note(f, "Xen", type, &value, len);
}

static void add_string(struct file *f, u32 type, const char *s)
{
    add_note(f, "Xen", type, s, strlen(s) + 1);
}

/* Two segments, no notes yet. */
static void make_bare(struct file *f)
{
    memset(f, 0, sizeof(*f));
    memcpy(ehdr(f)->e_ident, "\177ELF\2\1\1", 7);
    ehdr(f)->e_type = ET_EXEC;
    ehdr(f)->e_machine = EM_X86_64;
    ehdr(f)->e_version = 1;
    ehdr(f)->e_phoff = sizeof(struct elf64_ehdr);
    ehdr(f)->e_phentsize = sizeof(struct elf64_phdr);
    ehdr(f)->e_phnum = 3;
    ehdr(f)->e_shoff = 0x400;
    ehdr(f)->e_shentsize = sizeof(struct elf64_shdr);
    ehdr(f)->e_shnum = 1;
    *phdr(f, 0) = (struct elf64_phdr){.p_type = PT_LOAD,
                                      .p_flags = PF_R | PF_X,
                                      .p_offset = 0xC00,
                                      .p_paddr = 0x1000000,
                                      .p_filesz = 0x100,
                                      .p_memsz = 0x2000};
    *phdr(f, 1) = (struct elf64_phdr){.p_type = PT_LOAD,
                                      .p_flags = PF_R | PF_W,
                                      .p_offset = 0xD00,
                                      .p_paddr = 0x1004000,
                                      .p_filesz = 0x20,
                                      .p_memsz = 0x1000};
    *phdr(f, 2) = (struct elf64_phdr){.p_type = PT_NOTE, .p_offset = NOTES, .p_align = 4};
    *shdr(f) = (struct elf64_shdr){.sh_type = SHT_NOTE, .sh_offset = NOTES};
}

/* The notes of a Debian kernel, except those listed in 'skip' (a bit per type). */
static void make_linux(struct file *f, u32 skip)
{
    make_bare(f);
    add_note(f, "GNU", 3, "0123456789abcdefghij", 20);
    if (!(skip & BIT(XEN_ELFNOTE_GUEST_OS)))
        add_string(f, XEN_ELFNOTE_GUEST_OS, "linux");
    add_string(f, XEN_ELFNOTE_GUEST_VERSION, "2.6");
    if (!(skip & BIT(XEN_ELFNOTE_XEN_VERSION)))
        add_string(f, XEN_ELFNOTE_XEN_VERSION, "xen-3.0");
    if (!(skip & BIT(XEN_ELFNOTE_VIRT_BASE)))
        add_number(f, XEN_ELFNOTE_VIRT_BASE, VIRT, 8);
    add_number(f, XEN_ELFNOTE_INIT_P2M, 0x8000000000, 8);
    if (!(skip & BIT(XEN_ELFNOTE_ENTRY)))
        add_number(f, XEN_ELFNOTE_ENTRY, VIRT + 0x1000040, 8);
    add_note(f, "Xen", XEN_ELFNOTE_FEATURES, "!writable_page_tables|pae_pgdir_above_4gb", 41);
    add_number(f, XEN_ELFNOTE_SUPPORTED_FEATURES, 0x8801, 4);
    add_string(f, XEN_ELFNOTE_PAE_MODE, "yes");
    if (!(skip & BIT(XEN_ELFNOTE_LOADER)))
        add_string(f, XEN_ELFNOTE_LOADER, "generic");
    add_note(f, "Xen", XEN_ELFNOTE_L1_MFN_VALID, "\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0", 16);
    add_number(f, XEN_ELFNOTE_SUSPEND_CANCEL, 1, 4);
    add_number(f, XEN_ELFNOTE_MOD_START_PFN, 1, 4);
    add_number(f, XEN_ELFNOTE_HV_START_LOW, 0xffff800000000000, 8);
    add_number(f, XEN_ELFNOTE_PADDR_OFFSET, 0, 8);
    add_number(f, XEN_ELFNOTE_PHYS32_ENTRY, 0x1000850, 8);
}

static int open_notes(struct file *f, struct xen_notes *n, const char **reason)
{
    struct elf_image e;
    int rc = elf_open(&e, f->bytes, sizeof(f->bytes), reason);

    return rc < 0 ? rc : elf_xen_notes(&e, n, reason);
}

static void assert_open_refused(struct file *f, const char *part)
{
    struct elf_image e;
    const char *reason;

    assert_int_equal(elf_open(&e, f->bytes, sizeof(f->bytes), &reason), -XEN_EINVAL);
    assert_non_null(strstr(reason, part));
}

static void assert_notes_refused(struct file *f, const char *part)
{
    struct xen_notes n;
    const char *reason;

    assert_int_equal(open_notes(f, &n, &reason), -XEN_EINVAL);
    assert_non_null(strstr(reason, part));
}

static void lists_segments(void **state)
{
    static struct file f;
    struct elf_image e;
    struct elf_segment s;
    const char *reason;
    u64 start, end;

    make_linux(&f, 0);
    assert_int_equal(elf_open(&e, f.bytes, sizeof(f.bytes), &reason), 0);
    assert_null(reason);
    assert_int_equal(elf_segment_count(&e), 2);
    assert_int_equal(elf_segment(&e, 1, &s), 0);
    assert_int_equal(s.paddr, 0x1004000);
    assert_int_equal(s.file_size, 0x20);
    assert_int_equal(s.mem_size, 0x1000);
    assert_int_equal(s.flags, PF_R | PF_W);
    assert_ptr_equal(s.data, f.bytes + 0xD00);
    assert_int_equal(elf_segment(&e, 2, &s), -XEN_EINVAL);
    assert_int_equal(elf_segment(&e, ~0U, &s), -XEN_EINVAL);
    assert_int_equal(elf_extent(&e, &start, &end), 0);
    assert_int_equal(start, 0x1000000);
    assert_int_equal(end, 0x1005000);
}

static void refuses_foreign_files(void **state)
{
    static struct file f;
    struct elf_image e;
    const char *reason;

    make_bare(&f);
    assert_int_equal(elf_open(&e, f.bytes, 63, &reason), -XEN_EINVAL);
    assert_non_null(strstr(reason, "too short"));
    assert_int_equal(elf_open(&e, f.bytes, 64, &reason), -XEN_EINVAL);
    assert_non_null(strstr(reason, "program headers"));
    f.bytes[0] = 0;
    assert_open_refused(&f, "not an ELF");
    make_bare(&f);
    f.bytes[EI_CLASS] = 1;
    assert_open_refused(&f, "64-bit");
    make_bare(&f);
    ehdr(&f)->e_machine = 183;
    assert_open_refused(&f, "64-bit");
    make_bare(&f);
    ehdr(&f)->e_type = 1;
    assert_open_refused(&f, "executable");
    make_bare(&f);
    ehdr(&f)->e_version = 2;
    assert_open_refused(&f, "version");
}

static void refuses_broken_tables(void **state)
{
    static struct file f;

    make_bare(&f);
    ehdr(&f)->e_phnum = ELF_MAX_HEADERS + 1;
    assert_open_refused(&f, "too many");
    ehdr(&f)->e_phnum = 0;
    assert_open_refused(&f, "no program headers");
    make_bare(&f);
    ehdr(&f)->e_phoff = ~0ULL - 10;
    assert_open_refused(&f, "program headers");
    make_bare(&f);
    ehdr(&f)->e_phentsize = 32;
    assert_open_refused(&f, "program headers");
    make_bare(&f);
    ehdr(&f)->e_shnum = 0xFFFF;
    assert_open_refused(&f, "section headers");
    make_bare(&f);
    phdr(&f, 0)->p_type = phdr(&f, 1)->p_type = 0;
    assert_open_refused(&f, "no loadable");
}

static void refuses_bad_segments(void **state)
{
    static struct file f;

    make_bare(&f);
    phdr(&f, 0)->p_filesz = 0x2001;
    assert_open_refused(&f, "more bytes");
    make_bare(&f);
    phdr(&f, 1)->p_offset = sizeof(f.bytes) - 0x1F;
    assert_open_refused(&f, "outside the file");
    make_bare(&f);
    phdr(&f, 1)->p_offset = ~0ULL;
    assert_open_refused(&f, "outside the file");
    make_bare(&f);
    phdr(&f, 1)->p_paddr = ~0ULL - 0xFFE;
    assert_open_refused(&f, "wraps");
    make_bare(&f);
    phdr(&f, 1)->p_paddr = 0x1001FFF;
    assert_open_refused(&f, "overlap");
    phdr(&f, 1)->p_paddr = 0x1000000 - 0xFFF;
    assert_open_refused(&f, "overlap");
    make_bare(&f);
    phdr(&f, 1)->p_paddr = 0x1000000 + GIB(1) - 0xFFF;
    assert_open_refused(&f, "1 GiB");
}

static void segments_may_touch_and_fill(void **state)
{
    static struct file f;
    struct elf_image e;
    const char *reason;
    u64 start, end;

    make_bare(&f);
    phdr(&f, 1)->p_paddr = 0x1000000 + GIB(1) - 0x1000;
    assert_int_equal(elf_open(&e, f.bytes, sizeof(f.bytes), &reason), 0);
    phdr(&f, 1)->p_paddr = 0x1002000;
    assert_int_equal(elf_open(&e, f.bytes, sizeof(f.bytes), &reason), 0);
    phdr(&f, 1)->p_paddr = 0xFFF000;
    phdr(&f, 1)->p_memsz = 0x1000;
    phdr(&f, 1)->p_filesz = 0x20;
    assert_int_equal(elf_open(&e, f.bytes, sizeof(f.bytes), &reason), 0);
    assert_int_equal(elf_extent(&e, &start, &end), 0);
    assert_int_equal(start, 0xFFF000);
    phdr(&f, 1)->p_filesz = 0x1000;
    phdr(&f, 1)->p_offset = 0;
    assert_int_equal(elf_open(&e, f.bytes, sizeof(f.bytes), &reason), 0);
    /* A segment without memory is none, wherever it claims to be. */
    phdr(&f, 1)->p_memsz = phdr(&f, 1)->p_filesz = 0;
    phdr(&f, 1)->p_paddr = ~0ULL;
    assert_int_equal(elf_open(&e, f.bytes, sizeof(f.bytes), &reason), 0);
    assert_int_equal(elf_segment_count(&e), 1);
    assert_int_equal(elf_extent(&e, &start, &end), 0);
    assert_int_equal(end, 0x1002000);
}

static void limits_segments(void **state)
{
    static struct file f;
    struct elf_image e;
    const char *reason;

    make_bare(&f);
    ehdr(&f)->e_shnum = 0;
    ehdr(&f)->e_phnum = ELF_MAX_SEGMENTS;
    for (unsigned i = 0; i <= ELF_MAX_SEGMENTS; i++)
        *phdr(&f, i) =
            (struct elf64_phdr){.p_type = PT_LOAD, .p_paddr = i * 0x1000, .p_memsz = 0x1000};
    assert_int_equal(elf_open(&e, f.bytes, sizeof(f.bytes), &reason), 0);
    assert_int_equal(elf_segment_count(&e), ELF_MAX_SEGMENTS);
    ehdr(&f)->e_phnum++;
    assert_open_refused(&f, "32 segments");
    /* As many headers as there may be, one of them a segment. */
    memset(f.bytes + sizeof(struct elf64_ehdr), 0, sizeof(f.bytes) - sizeof(struct elf64_ehdr));
    *phdr(&f, 0) = (struct elf64_phdr){.p_type = PT_LOAD, .p_memsz = 1};
    ehdr(&f)->e_phnum = 72; /* what the file has room for */
    assert_int_equal(elf_open(&e, f.bytes, sizeof(f.bytes), &reason), 0);
    ehdr(&f)->e_phnum = 73;
    assert_open_refused(&f, "lie outside");
}

static void check_debian(const struct xen_notes *n)
{
    assert_string_equal(n->guest_os, "linux");
    assert_string_equal(n->xen_version, "xen-3.0");
    assert_string_equal(n->loader, "generic");
    assert_string_equal(n->features, "!writable_page_tables|pae_pgdir_above_4gb");
    assert_true(n->virt_base == VIRT);
    assert_true(n->entry == VIRT + 0x1000040);
    assert_true(n->has_init_p2m && n->init_p2m == 0x8000000000);
    assert_true(n->has_supported_features && n->supported_features == 0x8801);
    assert_true(n->mod_start_pfn);
    assert_false(n->has_hypercall_page);
    assert_int_equal(n->paddr_offset, 0);
}

static void reads_debian_notes(void **state)
{
    static struct file f;
    struct xen_notes n;
    const char *reason;

    make_linux(&f, 0);
    assert_int_equal(open_notes(&f, &n, &reason), 0);
    check_debian(&n);
    /* Without PT_NOTE the sections serve. */
    phdr(&f, 2)->p_type = 0;
    assert_int_equal(open_notes(&f, &n, &reason), 0);
    check_debian(&n);
    /* The second one, too. */
    ehdr(&f)->e_shnum = 2;
    shdr(&f)[1] = shdr(&f)[0];
    shdr(&f)[0].sh_type = 1;
    assert_int_equal(open_notes(&f, &n, &reason), 0);
    check_debian(&n);
    shdr(&f)[0] = shdr(&f)[1];
    ehdr(&f)->e_shnum = 1;
    /* And a PT_NOTE that holds nothing of Xen's does not hide them. */
    phdr(&f, 2)->p_type = PT_NOTE;
    phdr(&f, 2)->p_filesz = 12 + 4 + 20;
    assert_int_equal(open_notes(&f, &n, &reason), 0);
    check_debian(&n);
    ehdr(&f)->e_shnum = 0;
    assert_notes_refused(&f, "no Xen notes");
}

static void demands_required_notes(void **state)
{
    static struct file f;
    struct xen_notes n;
    const char *reason;

    make_linux(&f, BIT(XEN_ELFNOTE_ENTRY));
    assert_notes_refused(&f, "no ENTRY");
    make_linux(&f, BIT(XEN_ELFNOTE_VIRT_BASE));
    assert_notes_refused(&f, "no VIRT_BASE");
    make_linux(&f, BIT(XEN_ELFNOTE_XEN_VERSION));
    assert_notes_refused(&f, "xen-3.0");
    make_linux(&f, BIT(XEN_ELFNOTE_GUEST_OS));
    assert_int_equal(open_notes(&f, &n, &reason), 0); /* loader=generic is enough */
    make_linux(&f, BIT(XEN_ELFNOTE_LOADER));
    assert_int_equal(open_notes(&f, &n, &reason), 0);
    make_linux(&f, BIT(XEN_ELFNOTE_LOADER) | BIT(XEN_ELFNOTE_GUEST_OS));
    assert_notes_refused(&f, "neither Linux");
    make_linux(&f, 0);
    add_string(&f, XEN_ELFNOTE_XEN_VERSION, "xen-3.1");
    assert_notes_refused(&f, "xen-3.0");
}

static void refuses_bad_values(void **state)
{
    static struct file f;
    struct xen_notes n;
    const char *reason;

    make_linux(&f, 0);
    add_number(&f, XEN_ELFNOTE_ENTRY, VIRT + 0x1005000, 8);
    assert_notes_refused(&f, "ENTRY lies outside");
    make_linux(&f, 0);
    add_number(&f, XEN_ELFNOTE_ENTRY, 0x1000000, 8);
    assert_notes_refused(&f, "ENTRY lies outside");
    make_linux(&f, 0);
    add_number(&f, XEN_ELFNOTE_ENTRY, 0, 2);
    assert_notes_refused(&f, "size");
    make_linux(&f, 0);
    add_number(&f, XEN_ELFNOTE_SUPPORTED_FEATURES, 1ULL << 32, 8);
    assert_notes_refused(&f, "size");
    make_linux(&f, 0);
    add_string(&f, XEN_ELFNOTE_GUEST_OS, "linux-with-a-long-name");
    assert_notes_refused(&f, "size");
    make_linux(&f, 0);
    add_number(&f, XEN_ELFNOTE_VIRT_BASE, VIRT + 1, 8);
    assert_notes_refused(&f, "page-aligned");
    make_linux(&f, 0);
    add_string(&f, XEN_ELFNOTE_FEATURES, "pae_pgdir_above_4gb|!supervisor_mode_kernel");
    assert_notes_refused(&f, "ring");
    make_linux(&f, 0);
    add_string(&f, XEN_ELFNOTE_FEATURES, "supervisor_mode_kernel");
    assert_int_equal(open_notes(&f, &n, &reason), 0);
}

static void reads_strings_and_flags(void **state)
{
    static struct file f;
    struct xen_notes n;
    const char *reason;

    make_linux(&f, 0);
    add_note(&f, "Xen", XEN_ELFNOTE_GUEST_OS, "linuxes!", 8); /* ends with its note */
    add_string(&f, XEN_ELFNOTE_LOADER, "fifteen letters");
    add_string(&f, XEN_ELFNOTE_GUEST_VERSION, "far too long to be kept");
    add_number(&f, XEN_ELFNOTE_MOD_START_PFN, 0, 8);
    add_string(&f, XEN_ELFNOTE_FEATURES, "!supervisor_mode_kernels|!writable_page_tables");
    add_number(&f, XEN_ELFNOTE_ENTRY, VIRT + 0x1000000, 8);
    add_number(&f, XEN_ELFNOTE_SUPPORTED_FEATURES, ~0U, 8);
    assert_int_equal(open_notes(&f, &n, &reason), 0);
    assert_string_equal(n.guest_os, "linuxes!");
    assert_string_equal(n.loader, "fifteen letters");
    assert_false(n.mod_start_pfn);
    assert_int_equal(n.supported_features, ~0U);
    add_string(&f, XEN_ELFNOTE_LOADER, "sixteen letters!");
    assert_notes_refused(&f, "size");
    make_linux(&f, 0);
    add_string(&f, XEN_ELFNOTE_MOD_START_PFN, "ye");
    assert_notes_refused(&f, "size");
    make_linux(&f, 0);
    add_string(&f, XEN_ELFNOTE_MOD_START_PFN, "no!");
    assert_int_equal(open_notes(&f, &n, &reason), 0); /* a number, if an odd one */
}

/* GNU property notes are padded to 8 bytes and say so. */
static void reads_wide_padding(void **state)
{
    static struct file f;
    struct xen_notes n;
    const char *reason;
    u8 *p = f.bytes + 0xE00;

    make_linux(&f, BIT(XEN_ELFNOTE_ENTRY));
    ehdr(&f)->e_phnum = 4;
    *phdr(&f, 3) = (struct elf64_phdr){
        .p_type = PT_NOTE, .p_offset = 0xE00, .p_filesz = 24 + 24, .p_align = 8};
    memcpy(p, "\4\0\0\0\4\0\0\0\5\0\0\0GNU", 16);
    memcpy(p + 24, "\4\0\0\0\x8\0\0\0\1\0\0\0Xen", 16);
    memcpy(p + 40, &(u64){VIRT + 0x1000040}, 8);
    assert_int_equal(open_notes(&f, &n, &reason), 0);
    assert_true(n.entry == VIRT + 0x1000040);
    phdr(&f, 3)->p_align = 4;
    assert_notes_refused(&f, "runs past");
    /* The last note's padding may be missing; one byte of its contents may not. */
    phdr(&f, 3)->p_align = 8;
    phdr(&f, 3)->p_filesz = 20;
    assert_notes_refused(&f, "no ENTRY");
    phdr(&f, 3)->p_filesz = 47;
    assert_notes_refused(&f, "runs past");
}

static void checks_hypercall_page(void **state)
{
    static struct file f;
    struct xen_notes n;
    const char *reason;

    make_linux(&f, 0);
    add_number(&f, XEN_ELFNOTE_HYPERCALL_PAGE, VIRT + 0x1001000, 8);
    assert_int_equal(open_notes(&f, &n, &reason), 0);
    assert_true(n.has_hypercall_page && n.hypercall_page == VIRT + 0x1001000);
    add_number(&f, XEN_ELFNOTE_HYPERCALL_PAGE, VIRT + 0x1001008, 8);
    assert_notes_refused(&f, "HYPERCALL_PAGE");
    make_linux(&f, 0);
    add_number(&f, XEN_ELFNOTE_HYPERCALL_PAGE, VIRT + 0x1005000, 8);
    assert_notes_refused(&f, "HYPERCALL_PAGE");
    make_linux(&f, 0);
    add_number(&f, XEN_ELFNOTE_HYPERCALL_PAGE, ~0xFFFULL, 8);
    assert_notes_refused(&f, "HYPERCALL_PAGE");
}

static void paddr_offset_moves_extent(void **state)
{
    static struct file f;
    struct xen_notes n;
    const char *reason;

    make_linux(&f, 0);
    add_number(&f, XEN_ELFNOTE_PADDR_OFFSET, 0x1000000, 8);
    assert_notes_refused(&f, "ENTRY lies outside");
    add_number(&f, XEN_ELFNOTE_ENTRY, VIRT + 0x4FFF, 8);
    assert_int_equal(open_notes(&f, &n, &reason), 0);
    add_number(&f, XEN_ELFNOTE_PADDR_OFFSET, 0x1001000, 8);
    assert_notes_refused(&f, "ENTRY lies outside");
}

static void refuses_notes_that_overrun(void **state)
{
    static struct file f;

    make_linux(&f, 0);
    phdr(&f, 2)->p_filesz -= 5;
    assert_notes_refused(&f, "runs past");
    make_linux(&f, 0);
    phdr(&f, 2)->p_filesz += 11; /* no room for another note's head */
    assert_notes_refused(&f, "runs past");
    make_linux(&f, 0);
    ((struct elf64_nhdr *)(f.bytes + NOTES))->n_namesz = ~0U;
    assert_notes_refused(&f, "runs past");
    make_linux(&f, 0);
    ((struct elf64_nhdr *)(f.bytes + NOTES))->n_descsz = ~0U;
    assert_notes_refused(&f, "runs past");
    make_linux(&f, 0);
    phdr(&f, 2)->p_offset = ~0ULL - 4;
    assert_notes_refused(&f, "notes lie outside");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_segments),
        cmocka_unit_test(refuses_foreign_files),
        cmocka_unit_test(refuses_broken_tables),
        cmocka_unit_test(refuses_bad_segments),
        cmocka_unit_test(segments_may_touch_and_fill),
        cmocka_unit_test(limits_segments),
        cmocka_unit_test(reads_debian_notes),
        cmocka_unit_test(demands_required_notes),
        cmocka_unit_test(refuses_bad_values),
        cmocka_unit_test(reads_strings_and_flags),
        cmocka_unit_test(reads_wide_padding),
        cmocka_unit_test(checks_hypercall_page),
        cmocka_unit_test(paddr_offset_moves_extent),
        cmocka_unit_test(refuses_notes_that_overrun),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
