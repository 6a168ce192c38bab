"""Goal sets: frozen starts and goals, who acts on them, and results that anybody can replay."""
