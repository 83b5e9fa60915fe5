"""Everything that imports Ray Tune: cluster, searcher, scheduler, callbacks, trainable."""
