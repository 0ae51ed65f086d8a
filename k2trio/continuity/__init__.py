"""What has arrived, what is held, what is missing. Pure: no input or output, time is handed in."""
