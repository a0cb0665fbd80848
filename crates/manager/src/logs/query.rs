//! Which lines of a log are wanted.

/// Which lines of a log to read. Lines are counted from 0, the first that the process wrote.
///
/// ```
/// use procession_manager::LogsQuery;
///
/// // of a log with the lines 0 to 4 ...
/// LogsQuery::fetch_all(); // 0 1 2 3 4
/// LogsQuery::with_offset(2); // 2 3 4
/// LogsQuery::with_limit(2); // 0 1
/// LogsQuery::with_offset_and_limit(2, 2); // 2 3
/// ```
///
/// Asking for more than is there is no error: an answer ends where the log ends, and is empty when the
/// offset is past it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct LogsQuery {
    offset: usize,
    limit: Option<usize>,
}

impl LogsQuery {
    /// Every line. The answer is as large as the log.
    pub fn fetch_all() -> Self {
        Self::default()
    }

    /// Every line but the first `offset`.
    pub fn with_offset(offset: usize) -> Self {
        Self {
            offset,
            limit: None,
        }
    }

    /// The first `limit` lines.
    pub fn with_limit(limit: usize) -> Self {
        Self::with_offset_and_limit(0, limit)
    }

    /// The `limit` lines after the first `offset`.
    pub fn with_offset_and_limit(offset: usize, limit: usize) -> Self {
        Self {
            offset,
            limit: Some(limit),
        }
    }

    /// The number of the first line wanted.
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    /// How many lines are wanted at most; `None` is all.
    pub(crate) fn limit(&self) -> Option<usize> {
        self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_constructor_sets_what_it_names() {
        let table = [
            (LogsQuery::fetch_all(), 0, None),
            (LogsQuery::with_offset(3), 3, None),
            (LogsQuery::with_limit(5), 0, Some(5)),
            (LogsQuery::with_offset_and_limit(3, 5), 3, Some(5)),
        ];
        for (query, offset, limit) in table {
            assert_eq!((query.offset(), query.limit()), (offset, limit));
        }
    }
}
