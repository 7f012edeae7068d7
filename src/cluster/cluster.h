// The other daemons: who they are, which of them takes an endpoint, and a private line to each. Knows nothing of images.
#pragma once

#include "cluster/identity.h"
#include "cluster/discovery.h"
#include "cluster/control_channel.h"
