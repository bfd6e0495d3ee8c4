/* What Serai calls itself, and the Xen version whose interfaces it offers. */
#ifndef SERAI_BASE_VERSION_H
#define SERAI_BASE_VERSION_H

#define SERAI_VERSION      "0.1"
#define SERAI_XEN_MAJOR    4
#define SERAI_XEN_MINOR    17
#define SERAI_EXTRAVERSION "-serai"

#ifndef __ASSEMBLY__
/* The hypervisor's command line as given; set once at boot. */
extern char version_cmdline[1024];
#endif

#endif
