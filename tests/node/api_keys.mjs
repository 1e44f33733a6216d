import assert from "node:assert/strict";
import { Resend } from "resend";
import { good, order, refused, resend } from "./client.mjs";

const { apiKeys } = resend;
const { id, token } = good(await apiKeys.create({ name: "shop", permission: "sending_access" }));
const shop = new Resend(token);
good(await shop.emails.send(order));
assert.equal(refused(await shop.emails.list()), "restricted_api_key");
assert.equal(good(await apiKeys.update(id, { name: "the shop" })).id, id);
const listed = good(await apiKeys.list()).data;
assert.deepEqual(listed.filter((one) => one.id === id).map((one) => one.name), ["the shop"]);
assert.ok(!JSON.stringify(listed).includes(token));
assert.equal(good(await apiKeys.remove(id)).deleted, true);
assert.equal(refused(await shop.emails.send(order)), "invalid_api_key");
