//! Measurements on real hardware and checks of the models against them. Nothing is here yet: GPU times come
//! from datasheets, and every result says so.
