import assert from "node:assert/strict";
import { good, order, refused, resend } from "./client.mjs";

const batch = Array.from({ length: 5 }, (_, number) => ({ ...order, subject: `Order ${number}` }));
const ids = good(await resend.batch.send(batch)).data.map((one) => one.id);
assert.equal(new Set(ids).size, 5);

const wrong = [order, { ...order, to: "nobody" }];
assert.equal(refused(await resend.batch.send(wrong)), "validation_error");
const permissive = good(await resend.batch.send(wrong, { batchValidation: "permissive" }));
assert.equal(permissive.data.length, 1);
assert.deepEqual(permissive.errors.map((one) => one.index), [1]);
const newest = permissive.data[0].id;

const listed = [];
let after;
do {
  const page = good(await resend.emails.list({ limit: 2, ...(after && { after }) }));
  assert.ok(page.data.length <= 2);
  listed.push(...page.data.map((one) => one.id));
  after = page.has_more && listed.at(-1);
} while (after);
assert.deepEqual(listed, [newest, ...ids.toSorted().toReversed()]);
const newer = good(await resend.emails.list({ before: listed[1] }));
assert.deepEqual(newer.data.map((one) => one.id), [newest]);
