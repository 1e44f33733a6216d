import assert from "node:assert/strict";
import { good, order, refused, resend } from "./client.mjs";

const email = {
  ...order,
  cc: ["bob@example.com"],
  replyTo: "help@shop.example.com",
  headers: { "X-Order": "7" },
  tags: [{ name: "kind", value: "order" }],
};
const { id } = good(await resend.emails.send(email));
const found = good(await resend.emails.get(id));
assert.equal(found.object, "email");
assert.equal(found.from, order.from);
assert.deepEqual(found.to, ["ada@example.com"]);
assert.deepEqual(found.cc, ["bob@example.com"]);
assert.deepEqual(found.tags, email.tags);
assert.equal(found.last_event, "queued");

const once = { idempotencyKey: "order-7" };
const first = good(await resend.emails.send(order, once));
assert.equal(good(await resend.emails.send(order, once)).id, first.id);
const other = await resend.emails.send({ ...order, subject: "Another" }, once);
assert.equal(refused(other), "invalid_idempotent_request");

assert.equal(refused(await resend.emails.send({ ...order, to: "nobody" })), "validation_error");
assert.equal(refused(await resend.emails.get("nothing")), "not_found");
console.log(JSON.stringify({ id }));
