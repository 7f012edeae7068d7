// Includes the three parts of this module: this host's identity in the cluster, discovery
// (which of the other hosts takes an endpoint), and a control channel to each other host.
// The module does not depend on the contents of images.
#pragma once

#include "cluster/control_channel.h"
#include "cluster/discovery.h"
#include "cluster/identity.h"
