//! Two of a kind, and which of them.

use crate::state::Who;

/// One of the two connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Nth {
    /// Connection A.
    First,
    /// Connection B.
    Second,
}

impl Nth {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::First, Self::Second];
}

/// What says which of two is meant.
pub trait Side: Copy {
    /// Whether it is the second.
    fn is_second(self) -> bool;
}

impl Side for Who {
    fn is_second(self) -> bool {
        self == Self::Second
    }
}

impl Side for Nth {
    fn is_second(self) -> bool {
        self == Self::Second
    }
}

/// Two of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Pair<T> {
    first: T,
    second: T,
}

impl<T> Pair<T> {
    /// Two that are the same.
    pub fn both(each: T) -> Self
    where
        T: Copy,
    {
        Self {
            first: each,
            second: each,
        }
    }

    /// One of them.
    pub fn of(&self, side: impl Side) -> &T {
        if side.is_second() {
            &self.second
        } else {
            &self.first
        }
    }

    /// One of them, to change.
    pub fn of_mut(&mut self, side: impl Side) -> &mut T {
        if side.is_second() {
            &mut self.second
        } else {
            &mut self.first
        }
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        [&self.first, &self.second].into_iter()
    }

    /// One after the other, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        [&mut self.first, &mut self.second].into_iter()
    }

    /// Exchanges them.
    pub fn swap(&mut self) {
        std::mem::swap(&mut self.first, &mut self.second);
    }
}
