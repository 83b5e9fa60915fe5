"""Everything that imports Ray Tune: cluster, tuner, trainable, reuse of workers."""
