// The other daemons: who they are, which of them takes an endpoint, and a private line to each. Knows nothing of images.
#pragma once

#include "peer/identity.h"
#include "peer/negotiation.h"
#include "peer/transfer.h"
