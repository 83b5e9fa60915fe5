"""What commands show: tables, leaderboards, live progress, single runs."""
