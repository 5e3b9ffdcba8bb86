"""``rapido timetable``: classes out of files, into the cell's timetable."""
