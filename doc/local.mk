# Documents, installed beside README and NEWS, and manual pages of the programs.

dist_doc_DATA += \
	LICENSE \
	NEWS \
	README \
	doc/design.md \
	doc/testing.md \
	doc/usage.md

dist_man_MANS = \
	doc/man/rfaas-executor.1 \
	doc/man/rfaas-info.1 \
	doc/man/rfaas-manager.1
