//! The scripts that run in Redis, each one step that nobody comes between.

use fred::error::Error;
use fred::prelude::*;
use fred::types::scripts::Script;
use fred::types::{ClusterHash, CustomCommand};

use super::connection::Pipeline;
use crate::store::keys;

/// Compares and sets records of one bucket, with the change log, in one step. A revision without
/// a record counts as nothing, and so does what is no revision. Answers two values a record: empty ones if it was stored, else the
/// stored revision and record.
const COMPARE_AND_SET: &str = r"
local answers = {}
for i = 2, #ARGV, 4 do
  local key, expected, revision, body = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local held = redis.call('HGET', KEYS[2], key)
  if held and (#held > 16 or not string.find(held, '^[1-9]%d*$')) then held = false end
  if held and redis.call('HEXISTS', KEYS[1], key) == 0 then held = false end
  if (held or '0') == expected then
    redis.call('HSET', KEYS[1], key, body)
    redis.call('HSET', KEYS[2], key, revision)
    redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[1], '*', 'k', key, 'r', revision)
    answers[#answers + 1] = ''
    answers[#answers + 1] = ''
  else
    answers[#answers + 1] = held or '0'
    answers[#answers + 1] = held and redis.call('HGET', KEYS[1], key) or ''
  end
end
return answers";

/// Writes the contract's keys, each only if its time is later than what is there. What is no time
/// is overwritten, as the original would. Mostly it is earlier, so that this is asked first.
const NEWER_ONLY: &str = r"
local held = redis.call('MGET', unpack(KEYS))
local changed = {}
for i, key in ipairs(KEYS) do
  local time = held[i]
  if not time or time < ARGV[i] or #time ~= 23 or not string.find(time, '^%d%d%d%d%-%d%d%-%d%d %d%d:%d%d:%d%d UTC$') then
    changed[#changed + 1] = key
    changed[#changed + 1] = ARGV[i]
  end
end
if #changed > 0 then redis.call('MSET', unpack(changed)) end
return #changed / 2";

/// Removes tombstones, each only in the form in which it was found.
const BURY: &str = r"
for i = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[2], ARGV[i]) == ARGV[i + 1] then
    redis.call('HDEL', KEYS[1], ARGV[i])
    redis.call('HDEL', KEYS[2], ARGV[i])
  end
end
return 0";

/// All of them, by their hashes.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) compare_and_set: Script,
    pub(super) newer_only: Script,
    pub(super) bury: Script,
}

impl Default for Scripts {
    fn default() -> Self {
        Self {
            compare_and_set: Script::from_lua(COMPARE_AND_SET),
            newer_only: Script::from_lua(NEWER_ONLY),
            bury: Script::from_lua(BURY),
        }
    }
}

impl Scripts {
    /// Their text, to be loaded.
    pub(super) fn texts(&self) -> impl Iterator<Item = String> {
        let Self { compare_and_set, newer_only, bury } = self;
        [compare_and_set, newer_only, bury]
            .into_iter()
            .filter_map(|script| script.lua().map(ToString::to_string))
    }
}

/// Queues the call of a script; fred's pipelines have no method for it.
pub(super) async fn evalsha(
    pipeline: &Pipeline,
    script: &Script,
    keys: Vec<String>,
    arguments: impl IntoIterator<Item = Value>,
) -> Result<(), Error> {
    let count = keys.len().to_string();
    // Of such a command fred heeds the slot alone: told where the key stands, it goes by the first argument all the same.
    let node = keys.first().map_or(ClusterHash::Random, |key| ClusterHash::from(key.as_str()));
    let before = [script.sha1().to_string(), count].into_iter().chain(keys).map(Value::from);
    let all: Vec<Value> = before.chain(arguments).collect();
    let command = CustomCommand::new("EVALSHA", node, false);
    pipeline.custom::<(), Value>(command, all).await
}

/// The keys of a bucket, as the scripts have them.
pub(super) fn bucket_keys(bucket: usize) -> Vec<String> {
    vec![keys::records(bucket), keys::revisions(bucket), keys::log(bucket)]
}
