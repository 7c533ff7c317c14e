/* Symbols that librfaas exports for libmpix_rfaas, which is built on its layers but is
 * a library of its own. Not for users: no header of theirs is installed, and they
 * change without notice. */
#ifndef RFAAS_BASE_EXPORT_H
#define RFAAS_BASE_EXPORT_H

#define RFAAS_PRIVATE_API __attribute__((visibility("default")))

#endif
