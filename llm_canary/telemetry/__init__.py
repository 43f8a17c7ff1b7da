"""Facts leave the data plane here: a bounded queue, a crash-safe spool, and the drain into SQL."""
