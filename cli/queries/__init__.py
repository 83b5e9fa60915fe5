"""What commands read of studies, on disk or on a server: rankings, stored predictions, the study that a name means."""
