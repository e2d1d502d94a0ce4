//! Measured claims. The programs are in `src/bin`; `make bench` runs them; figures and method are in `README.md`.
