"""What commands show: tables, leaderboards, the live view, single runs."""
