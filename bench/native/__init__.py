"""Programs in C and C++, compiled when they are needed."""
