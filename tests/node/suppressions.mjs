import assert from "node:assert/strict";
import { good, refused, resend } from "./client.mjs";

const { suppressions } = resend;
const { id } = good(await suppressions.add({ email: "gone@example.com" }));
for (const one of [id, "gone@example.com"]) {
  const found = good(await suppressions.get(one));
  assert.deepEqual([found.id, found.email, found.origin], [id, "gone@example.com", "manual"]);
}
const emails = ["b@example.com", "c@example.com"];
assert.equal(good(await suppressions.batch.add({ emails })).data.length, 2);
assert.equal(good(await suppressions.list({ origin: "manual" })).data.length, 3);
assert.equal(good(await suppressions.list({ origin: "bounce" })).data.length, 0);
assert.equal(good(await suppressions.list({ limit: 2 })).has_more, true);
const removed = good(await suppressions.batch.remove({ emails })).data;
assert.deepEqual(removed.map((one) => one.deleted), [true, true]);
assert.equal(good(await suppressions.remove("gone@example.com")).deleted, true);
assert.equal(refused(await suppressions.get(id)), "not_found");
