#!/usr/bin/env bash
# Sessions and requests on RDMA, in a guest of their own. See in_rdma.sh.
# time-limit: 480
exec "$(dirname "$0")/test_rdma.sh" sessions
