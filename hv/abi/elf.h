/*
 * The part of the ELF-64 format (System V ABI) that a kernel loader reads. Names follow the
 * specification.
 */
#ifndef SERAI_ABI_ELF_H
#define SERAI_ABI_ELF_H

#include "base/types.h"

#define EI_CLASS   4
#define EI_DATA    5
#define EI_VERSION 6

#define ELFCLASS64  2
#define ELFDATA2LSB 1
#define EV_CURRENT  1
#define ET_EXEC     2
#define ET_DYN      3
#define EM_X86_64   62

#define PT_LOAD 1
#define PT_NOTE 4
#define PF_X    1
#define PF_W    2
#define PF_R    4

#define SHT_NOTE 7

struct elf64_ehdr {
    u8 e_ident[16];
    u16 e_type;
    u16 e_machine;
    u32 e_version;
    u64 e_entry;
    u64 e_phoff;
    u64 e_shoff;
    u32 e_flags;
    u16 e_ehsize;
    u16 e_phentsize;
    u16 e_phnum;
    u16 e_shentsize;
    u16 e_shnum;
    u16 e_shstrndx;
} packed;

struct elf64_phdr {
    u32 p_type;
    u32 p_flags;
    u64 p_offset;
    u64 p_vaddr;
    u64 p_paddr;
    u64 p_filesz;
    u64 p_memsz;
    u64 p_align;
} packed;

struct elf64_shdr {
    u32 sh_name;
    u32 sh_type;
    u64 sh_flags;
    u64 sh_addr;
    u64 sh_offset;
    u64 sh_size;
    u32 sh_link;
    u32 sh_info;
    u64 sh_addralign;
    u64 sh_entsize;
} packed;

/* A note: this header, the owner's name, padding, the descriptor, padding. */
struct elf64_nhdr {
    u32 n_namesz;
    u32 n_descsz;
    u32 n_type;
} packed;

_Static_assert(sizeof(struct elf64_ehdr) == 64, "ELF header");
_Static_assert(sizeof(struct elf64_phdr) == 56, "ELF program header");
_Static_assert(sizeof(struct elf64_shdr) == 64, "ELF section header");
_Static_assert(sizeof(struct elf64_nhdr) == 12, "ELF note header");

#endif
