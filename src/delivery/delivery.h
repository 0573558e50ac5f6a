#ifndef CACHE_NOTIFY_DELIVERY_H
#define CACHE_NOTIFY_DELIVERY_H

#include "base/cache_notify.h"

#endif							/* CACHE_NOTIFY_DELIVERY_H */
