"""Problem set 4: the program that is handed out, the faults that go into it, and what it promises."""
